// Before the first paint, so that nothing flashes: the theme that somebody chose.
try {
  const theme = localStorage.getItem("clipline.theme");
  if (theme === "dark" || theme === "light") document.documentElement.dataset.theme = theme;
} catch {
  // Storage may be forbidden.
}
