import { hex } from './frames.ts'

// BGP messages of other implementations, captured with tcpdump 4.99.3 between three routers on one bridge in fresh network namespaces:
// FRR 8.4.4 (AS 64500, 192.0.2.1, 2001:db8::1), BIRD 2.0.12 (AS 4200000002, 192.0.2.2, 2001:db8::2) and GoBGP 3.10.0 (AS 64502,
// 192.0.2.3). Each is named by its sender. The two of a BIRD with AS numbers of two octets came from a pair of its own.

const MARKER = 'ff'.repeat(16)

/** RFC 4271 section 4.2. */
export const BGP_OPENS = {
  /** Graceful restart with the R bit, as it had just started; add-path and ORF are unknown to us. */
  frr: hex(`
    ${MARKER} 0094 01
    04fbf40009c00002017702060104000100010206010400020001020280000202020002024600020641040000fbf402020600020a450800
    0101030002010302098207000100010180030209030700010001014003020b4909076c6f646566727200020c400ac07800010100000201
    000210470e0001018000000000020180000000
  `),
  /** AS 4200000002, with extended messages, extended next hop, long-lived graceful restart and its name. */
  bird: hex(`
    ${MARKER} 0067 01
    045ba00009c00002024a0248010400010001010400020001020005060001000100020600400a007800010100000201004104fa56ea0246
    00470e00010100000e1000020100000e10490a086c6f64656269726400
  `),
  /** A hold time of 9 s. */
  gobgp: hex(`
    ${MARKER} 0056 01
    04fbf60009c00002033902370200490402766d0001040001000101040002000141040000fbf6400a407800010100000201004707000101
    00000e100506000100010002
  `),
  /** Over IPv6. */
  birdInternal: hex(`
    ${MARKER} 0051 01
    045ba000f0c000020234023201040001000101040002000102000506000100010002400200784104fa56ea024600470e00010100000e10
    00020100000e10
  `),
  /** enable as4 off. */
  birdTwoOctetAs: hex(`${MARKER} 002f 01 04fbf600f0c000020512021001040001000102004002007846004700`),
}

/** RFC 4271 section 4.3, in sessions with AS numbers of four octets between different ASes unless the name says otherwise. */
export const BGP_UPDATES = {
  /** Standard, extended and large communities. */
  birdRoute: hex(`
    ${MARKER} 0051 02
    00000035400101004002060201fa56ea02400304c0000202c00804fbff0001c010080002fbff00000005c0200cfa56ea02000000010000
    000219cb007180
  `),
  birdPlainRoute: hex(`${MARKER} 0030 02 00000014400101004002060201fa56ea02400304c00002021acb007140`),
  /** Two prefixes, with a link-local next hop. */
  birdIpv6Routes: hex(`
    ${MARKER} 005c 02
    00000045900e00340002012020010db8000000000000000000000002fe8000000000000002005efffe005302003020010db80002312001
    0db8000280400101004002060201fa56ea02
  `),
  birdEndOfRibIpv4: hex(`${MARKER} 0017 02 00000000`),
  birdEndOfRibIpv6: hex(`${MARKER} 001d 02 00000006800f03000201`),
  /** RFC 8950: IPv4 prefixes with an IPv6 next hop; LOCAL_PREF and link bandwidth. */
  birdInternalIpv4OverIpv6NextHop: hex(`
    ${MARKER} 0073 02
    0000005c900e001a0001011020010db80000000000000000000000020019cb007180400101004002008004040000000940050400000064
    c00804fbff0001c010100002fbff00000005400400004b000000c0200cfa56ea020000000100000002
  `),
  /** AS_PATH with AS_TRANS, and AS4_PATH. */
  birdTwoOctetAsRoute: hex(`
    ${MARKER} 0042 02
    00000027400101004002080203fbf6fbff5ba0400304c0000205c0110e02030000fbf60000fbff0001000e18c63364
  `),
  /** MED, AGGREGATOR, all kinds of communities; origin incomplete. */
  gobgpRoute: hex(`
    ${MARKER} 0066 02
    0000004b4001010240020602010000fbf6400304c000020380040400000005c007080000fbf6c0000203c00808fbf60001ffffff01c010
    080002fbf600000007c0200c0000fbf6000000020000000318cb0071
  `),
  gobgpTwoAses: hex(`
    ${MARKER} 0055 02
    000000394001010040020a02020000fbf6fa56ea02400304c0000203c00804fbff0001c010080002fbff00000005c0200cfa56ea020000
    00010000000219cb007180
  `),
  /** the next hop is ::ffff:192.0.2.3. */
  gobgpIpv6ViaMapped: hex(`
    ${MARKER} 0047 02
    000000304001010040020a02020000fbf6fa56ea02800e1c0002011000000000000000000000ffffc0000203003020010db80002
  `),
  gobgpWithdrawal: hex(`${MARKER} 001b 02 000418cb00710000`),
  gobgpIpv6Withdrawal: hex(`${MARKER} 0024 02 0000000d800f0a0002013020010db80003`),
  gobgpEndOfRibIpv4: hex(`${MARKER} 0017 02 00000000`),
  gobgpEndOfRibIpv6: hex(`${MARKER} 001d 02 00000006800f03000201`),
  /** Two each of extended and large communities; link bandwidth, transitive. */
  frrRoute: hex(`
    ${MARKER} 0078 02
    0000005d400101005002000a02020000fbf40000fbf4400304c00002018004040000004dc0080cfbf40064ffff0000ffffff01c0201800
    00fbf400000001000000020000fbf40000000300000004c010100004fbf44b6e6b280002fbf40000000918c63364
  `),
  frrIpv6Routes: hex(`
    ${MARKER} 00a6 02
    0000008f900e00350002012020010db8000000000000000000000001fe8000000000000002005efffe005301003020010db80001402001
    0db800010001400101005002000a02020000fbf40000fbf48004040000004dc0080cfbf40064ffff0000ffffff01c020180000fbf40000
    0001000000020000fbf40000000300000004c010100004fbf44b6e6b280002fbf400000009
  `),
  frrPassedOn: hex(`
    ${MARKER} 0056 02
    0000003a400101005002000a02020000fbf4fa56ea02400304c0000202c00804fbff0001c0200cfa56ea020000000100000002c0100800
    02fbff0000000519cb007180
  `),
  /** Two prefixes. */
  frrWithdrawal: hex(`${MARKER} 0021 02 000a1acb00714019cb0071800000`),
  /** Two prefixes. */
  frrIpv6Withdrawal: hex(`${MARKER} 002d 02 00000016900f00120002013020010db800023120010db8000280`),
  frrEndOfRibIpv4: hex(`${MARKER} 0017 02 00000000`),
  frrEndOfRibIpv6: hex(`${MARKER} 001d 02 00000006800f03000201`),
}

/** RFC 4271 section 4.5. */
export const BGP_NOTIFICATIONS = {
  /** birdc disable with a text; BIRD calls it Administrative Shutdown. */
  birdShutdown: hex(`${MARKER} 0020 03 06020a676f696e6720686f6d65`),
  /** neighbor ... shutdown message. */
  frrShutdown: hex(`${MARKER} 0029 03 0602136d61696e74656e616e636520746f6e69676874`),
  /** Without a text. */
  gobgpShutdown: hex(`${MARKER} 0015 03 0602`),
  /** the data is the AS number. */
  frrBadPeerAs: hex(`${MARKER} 0017 03 02025ba0`),
}

/** RFC 2918 and RFC 7313. */
export const BGP_REFRESHES = {
  /** IPv4. */
  frrRequest: hex(`${MARKER} 0017 05 00010001`),
  /** IPv4. */
  birdBegin: hex(`${MARKER} 0017 05 00010101`),
  /** IPv4. */
  birdEnd: hex(`${MARKER} 0017 05 00010201`),
  birdRequestIpv6: hex(`${MARKER} 0017 05 00020001`),
  frrBeginIpv6: hex(`${MARKER} 0017 05 00020101`),
  frrEndIpv6: hex(`${MARKER} 0017 05 00020201`),
}

/** The message without a body, which all send alike. */
export const BGP_KEEPALIVE: Uint8Array = hex(`${MARKER} 0013 04`)
