/** Columns of equal width, two blanks apart, without trailing blanks. */
export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = head.map((title, i) => Math.max(title.length, ...rows.map(row => row[i]?.length ?? 0)))
  return [head, ...rows]
    .map(row =>
      row
        .map((cell, i) => cell.padEnd(widths[i] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n')
}

/** `node1, node2 and node3`. */
export function listed(items: readonly string[], nothing = 'none'): string {
  const others = items.slice(0, -1)
  const end = items.at(-1) ?? nothing
  return others.length === 0 ? end : `${others.join(', ')} and ${end}`
}
