/**
 * What can go wrong with an API server, on purpose.
 * refuse: connections are closed; hang: requests get no answer and watches fall silent; a status: that instead of an answer;
 * half-json: the answer breaks off in the middle; close-watches: open watches end, new ones end at once.
 */
export type Fault =
  | 'refuse'
  | 'hang'
  | 'half-json'
  | 'close-watches'
  | { readonly status: 410 | 429 | 500 | 503 }

/** A fault for everybody or for one user. */
export type FaultScope = { readonly user?: string }
