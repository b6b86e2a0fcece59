/** IPv4 address as dotted decimal text without leading zeros, so that === compares it. */
export type Ipv4 = string & { readonly __brand: 'Ipv4' }
/** IPv6 address as canonical text (RFC 5952), so that === compares it. */
export type Ipv6 = string & { readonly __brand: 'Ipv6' }
export type Ip = Ipv4 | Ipv6
