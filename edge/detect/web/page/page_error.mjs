/** A message for the person in front of the page; every other error is a defect. */
export class PageError extends Error {}
