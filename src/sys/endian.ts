import { endianness } from 'node:os'

/** The byte order of this machine, in which the kernel takes and gives its structures. */
export const LITTLE_ENDIAN = endianness() === 'LE'
