"use strict";
(() => {
  const data = JSON.parse(document.getElementById("calendar-data").textContent);
  const dialog = document.getElementById("searches");
  const part = (name) => document.getElementById("searches-" + name);
  const rows = dialog.querySelector("tbody");
  const most = 500;
  const narrow = matchMedia("(max-width: 44rem)");
  const long = new Intl.DateTimeFormat("en-GB", {
    weekday: "long", day: "numeric", month: "long", year: "numeric", timeZone: "UTC",
  });

  const counted = (number, one, many) => number + " " + (number === 1 ? one : many || one + "s");

  function cell(row, text, name) {
    const made = document.createElement("td");
    made.textContent = text;
    made.className = name || "";
    row.append(made);
  }

  function show(scope, day) {
    const [state, why, run] = scope.days[day] || ["not asked", null, null];
    part("title").textContent = long.format(new Date(day + "T00:00:00Z")) + ": " + state;
    part("why").textContent = why === null
      ? "No harvest asked for this day."
      : data.texts[why].slice(0, 1).toUpperCase() + data.texts[why].slice(1) + ". (Run " + data.texts[run] + ")";
    const records = data.records[day] || {};
    part("records").textContent = !scope.contracts ? "" : "Contracts published that day: " +
      counted(records.MP || 0, "marché") + ", " + counted(records.CC || 0, "concession") + ".";
    // In the order in which they were answered: it tells how the day was split.
    const windows = scope.windows.filter(([, start, end]) => start <= day && day <= end);
    const order = (window) => [data.texts[window[6]], data.texts[window[3]].length];
    windows.sort((one, other) => {
      const [first, few] = order(one), [second, more] = order(other);
      return first < second ? -1 : first > second ? 1 : few - more;
    });
    rows.replaceChildren(...windows.slice(0, most).map(([run, start, end, filters, state, count, answered]) => {
      const row = document.createElement("tr");
      cell(row, data.texts[filters] || "none", "text");
      cell(row, data.texts[state] === "closed" ? "whole" : "cut");
      cell(row, String(count), "n");
      cell(row, start === end ? start : start + " to " + end, "date");
      cell(row, data.texts[answered].replace("T", " ").replace("+00:00", " UTC"), "date");
      cell(row, data.texts[run], "date");
      return row;
    }));
    dialog.querySelector(".scroll").hidden = !windows.length;
    part("none").hidden = windows.length > 0;
    const left = Math.max(0, windows.length - most);
    part("more").textContent = [
      left ? counted(left, "more search", "more searches") + " of this day." : "",
      scope.leftOut
        ? counted(scope.leftOut, "older search is", "older searches are") + " not in this page."
        : "",
    ].join(" ").trim();
    dialog.showModal();
    dialog.scrollTop = 0;
  }

  for (const calendar of document.querySelectorAll(".calendar")) {
    const scope = data.scopes[Number(calendar.dataset.scope)];
    const days = [...calendar.querySelectorAll("button.day")];
    const places = new Map(days.map((button, place) => [button, place]));
    // One stop of the Tab key per calendar; the arrow keys move inside.
    let current = days[days.length - 1];
    const move = (button) => {
      current.tabIndex = -1;
      current = button;
      current.tabIndex = 0;
    };
    for (const button of days) button.tabIndex = -1;
    move(current);
    // A year is long on a phone: each month is a line there, which opens.
    const months = [...calendar.querySelectorAll(".month")];
    const fold = (folds) => {
      calendar.classList.toggle("folds", folds);
      for (const month of months) {
        month.open = !folds;
        month.firstElementChild.tabIndex = folds ? 0 : -1;
      }
    };
    const fit = () => fold(narrow.matches && months.length > 2);
    fit();
    narrow.addEventListener("change", fit);
    addEventListener("beforeprint", () => fold(false));
    addEventListener("afterprint", fit);
    for (const month of months) {
      month.addEventListener("toggle", () => {
        // The Tab key goes on into the month that was opened.
        const isFolding = calendar.classList.contains("folds");
        if (isFolding && month.open && !month.contains(current)) move(month.querySelector(".days > *"));
      });
    }
    calendar.addEventListener("click", (event) => {
      const button = event.target.closest("button.day");
      if (!button) return;
      move(button);
      show(scope, button.dataset.day);
    });
    const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -7, ArrowDown: 7 };
    calendar.addEventListener("keydown", (event) => {
      const here = places.get(event.target);
      if (here === undefined) return;
      const there = event.key === "Home" ? 0
        : event.key === "End" ? days.length - 1
        : event.key in steps ? here + steps[event.key] : -1;
      if (!days[there]) return;
      event.preventDefault();
      move(days[there]);
      current.closest(".month").open = true;
      current.focus();
    });
  }
  part("close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close();
  });
})();
