/* What does something when it is clicked and cannot have the focus. */
() => [...document.querySelectorAll("#page *")]
  .filter((own) => own.onclick && own.checkVisibility() && !own.disabled)
  .filter((own) => !own.matches("a[href], button, input, select, textarea"))
  .map((own) => own.outerHTML.slice(0, 120))
