"use strict";
(() => {
  const all = (selector, of = document) => [...of.querySelectorAll(selector)];

  // Light or dark: the reader's system decides until the reader does.
  const root = document.documentElement, theme = document.getElementById("theme");
  const isDark = () => root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  const remember = (value) => { try { localStorage.setItem("bulkrnabert-theme", value); } catch { /* private mode */ } };
  const show = () => { theme.textContent = isDark() ? "Light colours" : "Dark colours"; document.dispatchEvent(new Event("themed")); };
  try { const kept = localStorage.getItem("bulkrnabert-theme"); if (kept === "dark" || kept === "light") root.dataset.theme = kept; } catch { /* private mode */ }
  theme.hidden = false;
  theme.addEventListener("click", () => { root.dataset.theme = isDark() ? "light" : "dark"; remember(root.dataset.theme); show(); });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", show);
  show();

  // On a narrow screen the contents are folded.
  if (matchMedia("(max-width: 1119px)").matches) all(".contents").forEach((item) => { item.open = false; });

  // Sorting: numbers by value, hidden and missing ones last, texts by the alphabet.
  const key = (row, index) => {
    const text = ((row.cells[index].querySelector(".v") || row.cells[index]).textContent || "").trim();
    const number = parseFloat(text.replace(/,/g, "").replace("\u2212", "-").replace("<", ""));
    return { text, number, isNumber: /^[<+\u2212-]?[\d.]/.test(text) && !Number.isNaN(number) };
  };
  const sort = (table, index, isDown) => {
    const body = table.tBodies[0], keyed = [...body.rows].map((row) => [key(row, index), row]);
    const areNumbers = keyed.some(([item]) => item.isNumber) && keyed.every(([item]) => item.isNumber || !/[a-z]{4}/i.test(item.text));
    const missing = (item) => areNumbers ? !item.isNumber : item.text === "" || item.text === "\u2013";
    keyed.sort(([a], [b]) => missing(a) - missing(b)
      || (isDown ? -1 : 1) * (areNumbers ? (a.number - b.number) || 0 : a.text.localeCompare(b.text, "en", { numeric: true })));
    body.append(...keyed.map(([, row]) => row));
  };
  all("table.sortable").forEach((table) => {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, index) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const now = head.getAttribute("aria-sort");
        const isDown = now ? now === "ascending" : head.classList.contains("num");
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", isDown ? "descending" : "ascending");
        sort(table, index, isDown);
      });
    });
  });

  // A confusion matrix keeps its rows and columns in the same order.
  all("select.order").forEach((select) => {
    const table = document.getElementById(select.dataset.table);
    const rows = [...table.tBodies[0].rows], head = table.tHead.rows[0], n = rows.length;
    const places = rows.map((_, index) => index);
    const value = { size: (i) => -parseFloat((rows[i].dataset.n || "0").replace(/[<,]/g, "")), share: (i) => parseFloat(rows[i].dataset.share || "2") };
    const name = (i) => rows[i].cells[0].textContent;
    const cells = rows.map((row) => [...row.cells]), heads = [...head.cells];
    select.closest(".tools").hidden = false;
    select.addEventListener("change", () => {
      const by = value[select.value];
      const order = select.value === "given" ? places : [...places].sort((a, b) => (by ? by(a) - by(b) : 0) || name(a).localeCompare(name(b), "en", { numeric: true }));
      order.forEach((i) => { rows[i].append(cells[i][0], ...order.map((j) => cells[i][j + 1]), ...cells[i].slice(n + 1)); });
      head.append(heads[0], ...order.map((j) => heads[j + 1]), ...heads.slice(n + 1));
      table.tBodies[0].append(...order.map((i) => rows[i]));
    });
  });

  // Texts ready to paste.
  all("button[data-copy]").forEach((button) => {
    const label = button.textContent;
    button.hidden = false;
    button.addEventListener("click", async () => {
      const element = document.getElementById(button.dataset.copy);
      const items = all("li", element);
      const text = items.length ? items.map((item, index) => `${index + 1}. ${item.textContent.trim()}`).join("\n") : element.textContent.trim();
      let isDone = true;
      try { await navigator.clipboard.writeText(text); } catch {
        const range = document.createRange();
        range.selectNodeContents(element);
        getSelection().removeAllRanges();
        getSelection().addRange(range);
        isDone = document.execCommand("copy");
      }
      button.textContent = isDone ? "Copied" : "Marked: copy with Ctrl+C";
      setTimeout(() => { button.textContent = label; }, 2500);
    });
  });

  // Where the reader is.
  const links = new Map(all("nav.side a").map((link) => [link.hash.slice(1), link]));
  const seen = new IntersectionObserver((entries) => entries.forEach((entry) => {
    if (!entry.isIntersecting) return;
    links.forEach((link) => link.removeAttribute("aria-current"));
    links.get(entry.target.id)?.setAttribute("aria-current", "true");
  }), { rootMargin: "-10% 0px -80% 0px" });
  all("main section[id]").forEach((section) => seen.observe(section));
})();
