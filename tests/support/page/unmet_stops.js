/* The stops of the key Tab that were there from the first look on and that it never came to. */
() => [...window.unmet]
  .filter((own) => own.isConnected && own.checkVisibility() && !own.disabled)
  .map((own) => own.outerHTML.slice(0, 120))
