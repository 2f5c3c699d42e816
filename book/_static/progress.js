// Remembers, in this browser only, which chapters were read to their end, and marks links to them.
(() => {
  const KEY = "fcn-tutorial-read";
  const number = path => (/\/(\d\d)_[^/]*\.html$/.exec(path) || [])[1];

  const read = () => {
    try {
      const stored = JSON.parse(localStorage.getItem(KEY));
      return new Set(Array.isArray(stored) ? stored : []);
    } catch {
      return new Set(); // storage is off, or holds something else
    }
  };
  const write = chapters => {
    try {
      localStorage.setItem(KEY, JSON.stringify([...chapters].sort()));
    } catch { /* storage is off: nothing is remembered */ }
  };

  const show = () => {
    const chapters = read();
    for (const link of document.querySelectorAll(".fcn-way a, .bd-sidebar a, .toctree-wrapper a"))
      link.classList.toggle("fcn-read", chapters.has(number(link.pathname)));
    const strip = document.querySelector(".fcn-way");
    if (!strip) return;
    strip.querySelector("button")?.remove();
    if (!chapters.size) return;
    const forget = document.createElement("button");
    forget.type = "button";
    forget.textContent = "forget the ✓";
    forget.title = "Forget which chapters were read; it is known to this browser only";
    forget.addEventListener("click", () => { write(new Set()); show(); });
    strip.append(forget);
  };

  const begin = () => {
    show();
    const here = number(location.pathname), article = document.querySelector(".bd-article");
    if (!here || !article) return;
    const end = article.appendChild(document.createElement("div"));
    end.style.height = "1px";
    new IntersectionObserver((entries, observer) => {
      if (!entries.some(entry => entry.isIntersecting)) return;
      observer.disconnect();
      write(read().add(here));
      show();
    }).observe(end);
  };

  // The script comes when the first text is drawn, which may be before the last is read.
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", begin);
  else begin();
})();
