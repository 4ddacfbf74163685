// Labels that have no room are left out, by measuring them.

const APART = 6; // least distance of two labels, in pixels

/** Remove the labels that leave `frame` or come too close to one that stands before them in the list. */
export function thin(labels, frame) {
  const { left, right } = frame.getBoundingClientRect();
  const kept = [];
  const boxes = labels.map((label) => [label, label.getBoundingClientRect()]);
  for (const [label, box] of boxes) {
    const fits = box.left >= left - 1 && box.right <= right + 1;
    if (fits && kept.every((other) => box.right + APART <= other.left || other.right + APART <= box.left)) kept.push(box);
    else label.remove();
  }
}
