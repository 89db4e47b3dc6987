// Draws the page, and again where its width or the paper needs it.
for (const [name, printing] of [["beforeprint", true], ["afterprint", false]]) {
  addEventListener(name, () => {
    state.printing = printing;
    drawTable();
  });
}
let width = document.documentElement.clientWidth;
addEventListener("resize", () => {
  if (width === document.documentElement.clientWidth) return; // a phone's address bar changes only the height
  width = document.documentElement.clientWidth;
  if (!state.printing) draw();
});
state.key = names().at(-1);
drawGroups();
drawAgreement();
drawFacts();
draw();
