/** How to write for whoever reads. */
export type Style = {
  /** Escape sequences for colours. */
  readonly colour: boolean
  /** Block characters. */
  readonly unicode: boolean
  /** Width of a line. */
  readonly columns: number
}

const COLUMNS = 100

/**
 * Colours and blocks are for terminals alone; everybody else gets plain ASCII without control characters. `NO_COLOR`, not empty,
 * asks for none also on a terminal (no-color.org); `TERM=dumb` cannot show any.
 */
export function styleOf(
  stream: { readonly isTTY?: boolean; readonly columns?: number },
  env: Readonly<Record<string, string | undefined>>,
): Style {
  const terminal = stream.isTTY === true && env['TERM'] !== 'dumb'
  const locale = env['LC_ALL'] || env['LC_CTYPE'] || env['LANG'] || ''
  return {
    colour: terminal && (env['NO_COLOR'] ?? '') === '',
    // The console of Linux has a small font, and a locale of C says that there is only ASCII.
    unicode: terminal && env['TERM'] !== 'linux' && !/^(?:C|POSIX)$/.test(locale),
    // A terminal that does not know its size says 0.
    columns: (terminal && stream.columns) || COLUMNS,
  }
}

const CODES = {
  bold: 1,
  dim: 2,
  red: 31,
  green: 32,
  yellow: 33,
  blue: 34,
  magenta: 35,
  cyan: 36,
} as const

export type Paint = keyof typeof CODES

export function paint(style: Style, how: Paint, text: string): string {
  return style.colour && text !== '' ? `\u001b[${CODES[how]}m${text}\u001b[0m` : text
}
