import { hex } from './frames.ts'

// BFD control packets, UDP payloads, captured with tcpdump 4.99.3 in fresh network namespaces: FRR 8.4.4 bfdd (echo on) against BIRD
// 2.0.12, and pairs of BIRD for authentication.

export const BFD_PACKETS = {
  birdDown: hex('20 40 05 18 23eaf945 00000000 000493e0 000186a0 00000000'),
  /** Offers to loop echo packets every 50 ms. */
  frrInit: hex('20 80 03 18 63c7203f 23eaf945 000f4240 000f4240 0000c350'),
  birdPollUp: hex('20 e0 05 18 23eaf945 63c7203f 000186a0 000186a0 00000000'),
  frrFinalUp: hex('20 d0 03 18 63c7203f 23eaf945 000186a0 000186a0 0000c350'),
  frrUp: hex('20 c0 03 18 63c7203f 23eaf945 000186a0 000186a0 0000c350'),
  /** After `shutdown` of the peer. FRR gives no diagnostic. */
  frrAdminDown: hex('20 00 03 18 63c7203f 23eaf945 000186a0 000186a0 0000c350'),
  /** The answer to it: neighbour signalled session down. */
  birdNeighborDown: hex('23 60 05 18 23eaf945 63c7203f 000493e0 000186a0 00000000'),
}

/** BIRD with the password `lodestone` and the key 7. */
export const BFD_SIGNED = {
  'simple-password': hex(`
    20 c4 03 24 1868a68a 32c2afca 00030d40 00030d40 00000000
    01 0c 07 6c6f646573746f6e65
  `),
  'keyed-md5': hex(`
    20 c4 03 30 5cb957fa 82ed83b2 00030d40 00030d40 00000000
    02 18 07 00 4dbb8c2a 33d806a7919d2675795a149f90f68adc
  `),
  'meticulous-keyed-md5': hex(`
    20 c4 03 30 9131632d 8e9ad1e4 00030d40 00030d40 00000000
    03 18 07 00 5b260dc5 b44e35931fa3b721e10e5077ad8db23b
  `),
  'keyed-sha1': hex(`
    20 c4 03 34 a1bc9f07 852272d4 00030d40 00030d40 00000000
    04 1c 07 00 5f96eda7 15cd64b96b89dfefbbb008032a5c4b188767ae7f
  `),
  'meticulous-keyed-sha1': hex(`
    20 c4 03 34 b0a9eea0 57fc1d11 00030d40 00030d40 00000000
    05 1c 07 00 fef1d142 9c4d251e3f05cf7fd34cd09b674deeca5c3bcc50
  `),
}
