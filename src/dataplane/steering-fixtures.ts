import assert from 'node:assert/strict'
import { type Ipv4, type Ipv6, parseIp } from '../addr/ip.ts'
import { parsePrefix } from '../addr/prefix.ts'
import type { ListTableOptions, Nft } from '../ports/nft.ts'
import type { SteeredService, SteeringInput } from './steering.ts'
import { STEERING_TABLE } from './steering-text.ts'

export const ip = (text: string) => parseIp(text) ?? assert.fail(text)
export const prefix = (text: string) => parsePrefix(text) ?? assert.fail(text)

/** This node is n1, on eth0; nodes n1 to n9 are at 192.0.2.1x and 2001:db8::1x. */
export function steeringInput(
  services: readonly SteeredService[],
  more: Partial<SteeringInput> = {},
): SteeringInput {
  const names = Array.from({ length: 9 }, (_, i) => `n${i + 1}`)
  return {
    self: 'n1',
    interfaces: [{ name: 'eth0', index: 2, prefixes: [prefix('192.0.2.0/24'), prefix('2001:db8::/64')] }],
    nodes: new Map(
      names.map((name, i) => [
        name,
        { ip: ip(`192.0.2.1${i + 1}`) as Ipv4, ip6: ip(`2001:db8::1${i + 1}`) as Ipv6 },
      ]),
    ),
    services,
    dead: new Set(),
    ...more,
  }
}

/** Service number n at 203.0.113.n and 2001:db8:f::n, TCP port 80, in a small table. */
export function steered(
  n: number,
  weights: Readonly<Record<string, number>>,
  more: Partial<SteeredService> = {},
): SteeredService {
  return {
    service: `test/s${n}`,
    vips: [ip(`203.0.113.${n}`), ip(`2001:db8:f::${n}`)],
    ports: [{ protocol: 'TCP', port: 80 }],
    affinity: 'flow',
    weights: new Map(Object.entries(weights)),
    slots: 1009,
    ...more,
  }
}

/**
 * As much of the kernel as these transactions need, and as strict: it refuses to delete what is not there, to give a key other data without
 * deleting it, and to delete a chain that an element leads to. Lists itself as nft does.
 */
export class FakeKernel implements Nft {
  readonly transactions: string[] = []
  /** Name to lines of a chain. */
  chains: Map<string, string[]> | undefined
  maps = new Map<string, Map<string, string>>()
  /** Called before each transaction; what it throws refuses that. */
  onApply: (text: string) => void = () => {}

  async apply(text: string): Promise<void> {
    // Others may run while nft works.
    await Promise.resolve()
    this.onApply(text)
    this.transactions.push(text)
    let declaring: string[] | undefined
    for (const line of text.split('\n').map(part => part.trim())) {
      if (line === '') continue
      const chain = /^chain (\S+) \{/.exec(line)
      const map = /^(?:map|set) (\S+) \{ /.exec(line)
      if (line.startsWith('table ')) this.#create()
      else if (declaring !== undefined && line === '}') declaring = undefined
      else if (line === '}') continue
      else if (chain !== null) this.#chains.set(chain[1] ?? '', line.endsWith('}') ? [] : (declaring = []))
      else if (declaring !== undefined) declaring.push(line)
      else if (map !== null) this.maps.set(map[1] ?? '', new Map())
      else this.#command(line)
    }
  }

  /** Called before each listing, with the maps whose elements are asked for; undefined: all. */
  onList: (elementsOf: readonly string[] | undefined) => void = () => {}

  listTable(family: string, name: string, options: ListTableOptions = {}): Promise<string | undefined> {
    const { elementsOf } = options
    this.onList(elementsOf)
    if (this.chains === undefined || family !== 'netdev' || name !== STEERING_TABLE)
      return Promise.resolve(undefined)
    const lines = [`table netdev ${STEERING_TABLE} {`]
    for (const [map, elements] of this.maps) {
      if (elementsOf?.includes(map) === false) continue
      lines.push(`\t${map.startsWith('vips') ? 'set' : 'map'} ${map} {`, '\t\ttype mark : mark')
      // Two on a line, and a line break after a comma, as nft does.
      const texts = [...elements].map(([key, data]) => (data === '' ? key : `${key} : ${data}`))
      if (texts.length > 0) lines.push(`\t\telements = { ${texts.join(',\n\t\t\t     ')} }`)
      lines.push('\t}', '')
    }
    for (const [chain, rules] of this.#chains) {
      lines.push(`\tchain ${chain} {`, ...rules.map(rule => `\t\t${rule}`), '\t}', '')
    }
    return Promise.resolve(`${lines.join('\n')}}\n`)
  }

  get #chains(): Map<string, string[]> {
    return this.chains ?? assert.fail('no table')
  }

  #create(): void {
    this.chains ??= new Map()
  }

  #command(line: string): void {
    const table = `netdev ${STEERING_TABLE}`
    if (line === `add table ${table}`) return this.#create()
    if (line === `delete table ${table}`) {
      this.chains = undefined
      this.maps = new Map()
      return
    }
    const parts = /^(\w+) (\w+) netdev lodestone_steering (\S+) ?(.*)$/.exec(line)
    assert.ok(parts !== null, line)
    const [, verb, object, name = '', rest = ''] = parts
    switch (`${verb} ${object}`) {
      case 'add chain': {
        const hook = /^\{ (type .*) \}$/.exec(rest)?.[1]
        if (!this.#chains.has(name)) this.#chains.set(name, hook === undefined ? [] : [hook])
        return
      }
      case 'flush chain':
        assert.ok(this.#chains.has(name), `${line}: no such chain`)
        return
      case 'delete chain':
        for (const elements of this.maps.values()) {
          assert.ok(![...elements.values()].includes(`goto ${name}`), `${line}: in use`)
        }
        assert.ok(this.#chains.delete(name), `${line}: no such chain`)
        return
      case 'add rule':
        ;(this.#chains.get(name) ?? assert.fail(`${line}: no such chain`)).push(rest)
        return
      default:
        this.#elements(verb, name, rest, line)
    }
  }

  #elements(verb: string | undefined, name: string, rest: string, line: string): void {
    const map = this.maps.get(name) ?? assert.fail(`${line}: no such map`)
    for (const element of rest.slice(2, -2).split(', ')) {
      const split = element.lastIndexOf(' : ')
      const [key, data] = split < 0 ? [element, ''] : [element.slice(0, split), element.slice(split + 3)]
      if (verb === 'delete') assert.ok(map.delete(key), `${name} has no ${key}`)
      else {
        assert.ok(map.get(key) === undefined || map.get(key) === data, `${name} has ${key} already`)
        const chain = /^goto (to-\S+)$/.exec(data)?.[1]
        assert.ok(chain === undefined || this.#chains.has(chain), `${name}: no chain ${chain}`)
        map.set(key, data)
      }
    }
  }

  /** Where a packet to the port 80 of TCP of this address goes, for each slot: the chain, 'here', or 'unsteered'. */
  paths(vip: string, size: number): string[] | 'unsteered' {
    const f = vip.includes(':') ? 6 : 4
    const mark = this.maps.get(`services${f}`)?.get(`${vip} . tcp . 80`)
    if (mark === undefined) return 'unsteered'
    return Array.from({ length: size }, (_, slot) => {
      const nodes = Number(
        this.maps
          .get('slots')
          ?.get(`${mark} . ${(slot >> 16).toString(16)}:${(slot & 0xffff).toString(16)}`) ?? 0,
      )
      const hex = (value: number) => `0x${(value >>> 0).toString(16).padStart(8, '0')}`
      const first = this.maps.get(`nodes${f}`)?.get(hex(nodes & 0xffff0000))
      if (first === undefined || !first.startsWith('goto second')) return first ?? 'goto here'
      return this.maps.get(`seconds${f}`)?.get(hex(nodes & 0xffff)) ?? 'goto here'
    })
  }
}
