// Images: a card for each, and a view of one with the truth and the detections of all arms beside each other.
const PAGE = 48;
const SVG = "http://www.w3.org/2000/svg";
const state = { classIndex: -1, limit: PAGE, shown: [], position: 0 };

function makeSvg(tag, attributes, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

function makeBox([x, y, width, height, label], kind, text) {
  const title = makeSvg("title", {});
  title.textContent = text;
  const isFaded = state.classIndex >= 0 && label !== state.classIndex;
  return makeSvg("rect", { x, y, width, height, class: kind + (isFaded ? " faded" : "") }, title);
}

function drawPicture(picture, boxes, description) {
  const frame = { viewBox: `0 0 ${picture.width} ${picture.height}`, role: "img", "aria-label": description };
  const size = { width: picture.width, height: picture.height, preserveAspectRatio: "none" };
  const image = picture.thumbnail ? [makeSvg("image", { href: picture.thumbnail, ...size })] : [];
  return makeSvg("svg", frame, ...image, ...boxes);
}

function truthBoxes(picture) {
  return picture.boxes.map((box) => makeBox(box, "truth", data.classes[box[4]]));
}

function detectionBoxes(picture, detections) {
  const found = new Set(detections.map((detection) => detection[6]));
  const missed = picture.boxes.filter((_, index) => !found.has(index));
  return [
    ...missed.map((box) => makeBox(box, "missed", `${data.classes[box[4]]}, missed`)),
    ...detections.map((detection) => {
      const kind = detection[6] >= 0 ? "right" : "wrong";
      return makeBox(detection, kind, `${data.classes[detection[4]]} ${(detection[5] / 100).toFixed(2)}, ${kind}`);
    }),
  ];
}

function describeChange(picture, arm) {
  const change = picture.changes[arm];
  if (!change) return "";
  const size = change.mean > 0 ? `+${change.mean.toFixed(2)}` : change.mean.toFixed(2).replace("-", "−");
  const counts = [[change.better, "better"], [change.worse, "worse"]].filter(([count]) => count);
  const text = counts.map(([count, word]) => `${word} in ${count}`).join(", ") || "the same in all";
  return `F1 ${size}, ${text} of ${change.pairs} seeds`;
}

function hasClass(picture) {
  const isOfClass = (box) => box[4] === state.classIndex;
  return state.classIndex < 0 || picture.boxes.some(isOfClass) ||
    picture.detections.some((seeds) => seeds.some((detections) => detections && detections.some(isOfClass)));
}

function isOfKind(picture, kind, arm) {
  const change = picture.changes[arm];
  if (kind === "all" || !change) return kind === "all";
  return 2 * (kind === "mended" ? change.better : change.worse) > change.pairs;
}

function listPictures() {
  const [arm, kind] = [Number(byId("arm").value), byId("kind").value];
  const pictures = data.pictures.filter((picture) => isOfKind(picture, kind, arm) && hasClass(picture));
  if (kind === "all") return pictures;
  const sign = kind === "mended" ? -1 : 1;
  return pictures.sort((first, second) => sign * (first.changes[arm].mean - second.changes[arm].mean));
}

function makeCard(picture, index) {
  const change = describeChange(picture, Number(byId("arm").value));
  const name = make("span", { className: "name", textContent: picture.name });
  const text = make("span", { textContent: change });
  const card = make("button", { type: "button", className: "card", title: picture.name });
  card.append(drawPicture(picture, truthBoxes(picture), `${picture.name} with its boxes`), name, text);
  card.addEventListener("click", () => openViewer(index));
  return card;
}

function showCards() {
  state.shown = listPictures();
  byId("cards").replaceChildren(...state.shown.slice(0, state.limit).map(makeCard));
  byId("more").hidden = state.shown.length <= state.limit;
  byId("count").textContent = `${state.shown.length} of ${data.pictures.length} images`;
}

function makePanel(title, picture, boxes) {
  return make("div", {}, make("h3", { textContent: title }), drawPicture(picture, boxes, title));
}

function showPanels() {
  const picture = state.shown[state.position];
  const drawn = Number(byId("viewer-seed").value);
  const seed = data.shown_seeds[drawn];
  byId("viewer-name").textContent = picture.name;
  const panels = data.arms.map((arm, index) => {
    const detections = picture.detections[index][drawn];
    if (!detections) return make("div", {}, make("h3", { textContent: `${arm}: no evaluation` }));
    return makePanel(`${arm}: F1 ${picture.f1[index][seed].toFixed(2)}`, picture, detectionBoxes(picture, detections));
  });
  byId("panels").replaceChildren(makePanel("truth", picture, truthBoxes(picture)), ...panels);
  byId("previous").disabled = state.position === 0;
  byId("next").disabled = state.position === state.shown.length - 1;
}

function openViewer(index) {
  state.position = index;
  showPanels();
  byId("viewer").showModal();
}

function step(distance) {
  const position = state.position + distance;
  if (position < 0 || position >= state.shown.length) return;
  state.position = position;
  showPanels();
}

function chooseClass(value) {
  state.classIndex = Number(value);
  state.limit = PAGE;
  for (const select of document.querySelectorAll(".class-filter")) select.value = value;
  for (const row of document.querySelectorAll(".table-class tbody tr")) {
    row.hidden = state.classIndex >= 0 && row.classIndex !== state.classIndex;
  }
  showCards();
}

function startImages() {
  const arms = data.arms.map((_, index) => index).filter(isCompared);
  fillSelect(byId("arm"), arms.map((index) => data.arms[index]), arms);
  fillSelect(byId("kind"), arms.length ? ["mended", "spoiled", "all"] : ["all"], arms.length ? ["mended", "spoiled", "all"] : ["all"]);
  byId("arm").parentElement.hidden = !arms.length;
  for (const select of document.querySelectorAll(".class-filter")) {
    fillSelect(select, ["all classes", ...data.classes], [-1, ...data.classes.keys()]);
    select.addEventListener("change", () => chooseClass(select.value));
  }
  for (const id of ["arm", "kind"]) byId(id).addEventListener("change", () => { state.limit = PAGE; showCards(); });
  byId("more").addEventListener("click", () => { state.limit += PAGE; showCards(); });
  fillSelect(byId("viewer-seed"), data.shown_seeds.map((seed) => data.seeds[seed]), [...data.shown_seeds.keys()]);
  byId("viewer-seed").addEventListener("change", showPanels);
  byId("previous").addEventListener("click", () => step(-1));
  byId("next").addEventListener("click", () => step(1));
  byId("close").addEventListener("click", () => byId("viewer").close());
  byId("viewer").addEventListener("keydown", (event) => {
    if (event.target.tagName === "SELECT") return;
    if (event.key === "ArrowLeft") step(-1);
    if (event.key === "ArrowRight") step(1);
  });
  showCards();
}

function startTables() {
  byId("groups").append(...data.groups.map(makeGroupTable));
  const arms = data.confusions.map((_, index) => index).filter((index) => data.confusions[index]);
  fillSelect(byId("confusion-arm"), arms.map((index) => data.arms[index]), arms);
  const show = () => byId("confusion").replaceChildren(makeConfusion(data.confusions[Number(byId("confusion-arm").value)]));
  byId("confusion-arm").addEventListener("change", show);
  show();
}

if (data.groups.length) {
  startTables();
  startImages();
}
