/** A 48-bit Ethernet address as lower-case colon-separated text, so that === compares it. */
export type Mac = string & { readonly __brand: 'Mac' }
