// What the theme leaves without a name, or out of reach of the keyboard.
(() => {
  const mend = () => {
    for (const summary of document.querySelectorAll(".bd-sidebar-primary summary")) {
      const above = summary.closest("li")?.querySelector("a");
      summary.setAttribute("aria-label", `Pages below ${above ? above.textContent.trim() : "this"}`);
    }
    // Its children are entries of a bibliography and ways back from them: no items of a list.
    for (const list of document.querySelectorAll(".citation-list[role=list]"))
      list.removeAttribute("role");
    // Names of modules and settings end a line behind a dot or a _ rather than inside a word.
    const named = ".bd-article h1, .bd-article .pre, .bd-article td a, .bd-article li > p > a";
    for (const element of document.querySelectorAll(named))
      for (const text of [...element.childNodes])
        if (text.nodeType === Node.TEXT_NODE && /^[a-z_]\w*[._]\w+(\.\w+)*$/i.test(text.data))
          text.replaceWith(...text.data.match(/[._]*[^._]+[._]*/g).flatMap(
            (part, i) => (i ? [document.createElement("wbr"), part] : [part])));
    // Options and commands of a notebook do not end a line behind what they begin with.
    for (const element of document.querySelectorAll(".bd-article code .pre"))
      if (/^(--|!)\w/.test(element.textContent)) element.style.whiteSpace = "nowrap";
    // A box that scrolls can be scrolled by keys once it can be reached.
    const boxes = ".bd-article pre, .bd-article .cell_output > *, .bd-article .scroll";
    for (const box of document.querySelectorAll(boxes))
      if (box.scrollWidth > box.clientWidth + 1) box.tabIndex = 0;
  };

  // The script comes when the first text is drawn, which may be before the last is read.
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", mend);
  else mend();
})();
