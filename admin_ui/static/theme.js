// Runs before the first paint, so that a chosen theme does not flash.
(function () {
  try {
    const chosen = localStorage.getItem("understudy-theme");
    if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
  } catch { /* storage is off: the system's scheme applies */ }
})();
