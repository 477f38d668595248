/* How many stops the key Tab has; window.unmet keeps those that it has not come to yet. */
() => {
  window.unmet = new Set(
    [...document.querySelectorAll("a[href], button, input, select, textarea, [tabindex]")]
      .filter((own) => own.checkVisibility() && !own.disabled && own.tabIndex >= 0 && !own.closest("dialog")),
  );
  addEventListener("focusin", (event) => window.unmet.delete(event.target));
  return window.unmet.size;
}
