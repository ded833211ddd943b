/* Loops that nothing but the processor itself holds back: multiply-adds whose operands stay in registers, and reads and
 * copies of an array.
 *
 * Compiled by `peak_loops.py` once for each loop, with that loop's macro and the flags that its registers want. A
 * library has
 *   prepare()              0, or why the system does not let this process use the instructions (an errno)
 *   macs_per_round         multiply-accumulates of one round
 *   run(rounds)            does them, or, for memory:
 *   read_array, copy_array, copy_libc, update_array
 *
 * The instructions are written out, since compilers that choose them also choose to move registers about. Each has as
 * many independent sums as its latency times its throughput wants, and no more than there are registers. Operands are
 * no zeros: processors save power on these, and clock higher.
 */
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(LOOP_AMX_INT8) || defined(LOOP_AMX_BF16) || defined(LOOP_AMX_FP16)
#include <sys/syscall.h>
#include <unistd.h>
#define ARCH_REQ_XCOMP_PERM 0x1023
#define XFEATURE_XTILEDATA 18
int prepare(void) { return syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0 ? 0 : errno; }
#else
int prepare(void) { return 0; }
#endif

#define REPEAT_8(step) step(0) step(1) step(2) step(3) step(4) step(5) step(6) step(7)
#define REPEAT_12(step) REPEAT_8(step) step(8) step(9) step(10) step(11)
#define REPEAT_16(step) REPEAT_12(step) step(12) step(13) step(14) step(15)

typedef uint8_t V16 __attribute__((vector_size(16)));
typedef uint8_t V32 __attribute__((vector_size(32)));
typedef uint8_t V64 __attribute__((vector_size(64)));

/* Every byte of both factors is BYTE: a small positive number in each of the types. */
#define SUM(i) sum##i = zero,
#define VECTOR_LOOP(TYPE, COUNT, MACS, BYTE, STEP)                                                                     \
    const uint64_t macs_per_round = (uint64_t)(COUNT) * (MACS);                                                        \
    void run(uint64_t rounds) {                                                                                        \
        const TYPE zero = {0};                                                                                         \
        TYPE REPEAT_##COUNT(SUM) a, b;                                                                                 \
        memset(&a, BYTE, sizeof a);                                                                                    \
        memset(&b, BYTE, sizeof b);                                                                                    \
        for (uint64_t round = 0; round < rounds; ++round) {                                                            \
            REPEAT_##COUNT(STEP)                                                                                       \
        }                                                                                                              \
    }
/* sum += a * b */
#define X86(instruction, i) __asm__ volatile(instruction " %2, %1, %0" : "+v"(sum##i) : "v"(a), "v"(b));
#define ARM(instruction, sums, factors, i)                                                                             \
    __asm__ volatile(instruction " %0." sums ", %1." factors ", %2." factors : "+w"(sum##i) : "w"(a), "w"(b));

#if defined(LOOP_FMA_AVX2)
#define STEP(i) X86("vfmadd231ps", i)
VECTOR_LOOP(V32, 12, 8, 0x3a, STEP)

#elif defined(LOOP_FMA_AVX512)
#define STEP(i) X86("vfmadd231ps", i)
VECTOR_LOOP(V64, 16, 16, 0x3a, STEP)

#elif defined(LOOP_FP16_AVX512)
#define STEP(i) X86("vfmadd231ph", i)
VECTOR_LOOP(V64, 16, 32, 0x2a, STEP)

#elif defined(LOOP_BF16_AVX512)
#define STEP(i) X86("vdpbf16ps", i)
VECTOR_LOOP(V64, 16, 32, 0x3a, STEP)

/* Without dot products of four: pairs of products are summed in 16 bits, and these added up there. Exact kernels widen
 * them to 32 bits first, which takes longer. */
#elif defined(LOOP_MADDUBS_AVX2) || defined(LOOP_MADDUBS_AVX512)
#define STEP(i)                                                                                                        \
    {                                                                                                                  \
        TYPE pairs;                                                                                                    \
        __asm__ volatile("vpmaddubsw %3, %2, %1\n\tvpaddw %1, %0, %0" : "+v"(sum##i), "=&v"(pairs) : "v"(a), "v"(b));  \
    }
#if defined(LOOP_MADDUBS_AVX2)
#define TYPE V32
#else
#define TYPE V64
#endif
VECTOR_LOOP(TYPE, 8, sizeof(TYPE), 0x2b, STEP)

#elif defined(LOOP_VNNI_AVX2)
#define STEP(i) X86("%{vex%} vpdpbusd", i)
VECTOR_LOOP(V32, 12, 32, 0x2b, STEP)

#elif defined(LOOP_VNNI_AVX512)
#define STEP(i) X86("vpdpbusd", i)
VECTOR_LOOP(V64, 16, 64, 0x2b, STEP)

/* Six tiles of sums, 16 rows of 16 numbers of 32 bits; tiles 6 and 7 are the factors. */
#elif defined(LOOP_AMX_INT8) || defined(LOOP_AMX_BF16) || defined(LOOP_AMX_FP16)
#if defined(LOOP_AMX_INT8)
#define INSTRUCTION "tdpbusd"
#define DEPTH 64
#define BYTE 0x2b
#elif defined(LOOP_AMX_BF16)
#define INSTRUCTION "tdpbf16ps"
#define DEPTH 32
#define BYTE 0x3a
#else
#define INSTRUCTION "tdpfp16ps"
#define DEPTH 32
#define BYTE 0x2a
#endif
const uint64_t macs_per_round = 6ull * 16 * 16 * DEPTH;
#define ZERO(tile) __asm__ volatile("tilezero %%tmm" #tile :);
#define STEP(tile) __asm__ volatile(INSTRUCTION " %%tmm7, %%tmm6, %%tmm" #tile :);
#define ALL(step) step(0) step(1) step(2) step(3) step(4) step(5)

void run(uint64_t rounds) {
    struct {
        uint8_t palette, start_row, reserved[14];
        uint16_t row_bytes[16];
        uint8_t rows[16];
    } __attribute__((aligned(64))) shape = {.palette = 1};
    uint8_t factors[16 * 64] __attribute__((aligned(64)));
    for (int tile = 0; tile < 8; ++tile) {
        shape.row_bytes[tile] = 64;
        shape.rows[tile] = 16;
    }
    memset(factors, BYTE, sizeof factors);
    __asm__ volatile("ldtilecfg %0" : : "m"(shape));
    ALL(ZERO)
    __asm__ volatile("tileloadd (%0,%1,1), %%tmm6\n\ttileloadd (%0,%1,1), %%tmm7" : : "r"(factors), "r"(64l) : "memory");
    for (uint64_t round = 0; round < rounds; ++round) {
        ALL(STEP)
    }
    __asm__ volatile("tilerelease" :);
}

/* For 64-bit ARM: written by the documentation, never run. */
#elif defined(LOOP_FMA_NEON)
#define STEP(i) ARM("fmla", "4s", "4s", i)
VECTOR_LOOP(V16, 16, 4, 0x3a, STEP)

#elif defined(LOOP_FP16_NEON)
#define STEP(i) ARM("fmla", "8h", "8h", i)
VECTOR_LOOP(V16, 16, 8, 0x2a, STEP)

#elif defined(LOOP_BF16_NEON)
#define STEP(i) ARM("bfmmla", "4s", "8h", i)
VECTOR_LOOP(V16, 16, 16, 0x3a, STEP)

#elif defined(LOOP_INT8_NEON)
#define STEP(i) ARM("smlal", "8h", "8b", i)
VECTOR_LOOP(V16, 16, 8, 0x2b, STEP)

#elif defined(LOOP_DOT_NEON)
#define STEP(i) ARM("sdot", "4s", "16b", i)
VECTOR_LOOP(V16, 16, 16, 0x2b, STEP)

#elif defined(LOOP_I8MM_NEON)
#define STEP(i) ARM("smmla", "4s", "16b", i)
VECTOR_LOOP(V16, 16, 32, 0x2b, STEP)

#elif defined(LOOP_MEMORY)
/* In the widest registers that the flags allow. Sizes are multiples of 512 bytes. */
#if defined(__AVX512F__)
#define WIDTH 64
#elif defined(__AVX__)
#define WIDTH 32
#else
#define WIDTH 16
#endif
typedef uint64_t Line __attribute__((vector_size(WIDTH)));
const uint64_t macs_per_round = 0;
#define READ(k) sum##k ^= source[i + k];
#define LOAD(k) const Line line##k = source[i + k];
#define STORE(k) copy[i + k] = line##k;
#define UPDATE(k) changed[i + k] ^= source[i + k];

void read_array(const Line *source, uint64_t bytes, uint64_t rounds) {
    const Line zero = {0};
    Line REPEAT_8(SUM) all;
    for (uint64_t round = 0; round < rounds; ++round)
        for (uint64_t i = 0; i < bytes / sizeof(Line); i += 8) {
            REPEAT_8(READ)
        }
    all = sum0 ^ sum1 ^ sum2 ^ sum3 ^ sum4 ^ sum5 ^ sum6 ^ sum7;
    __asm__ volatile("" : : "m"(all));
}

void copy_array(Line *copy, const Line *source, uint64_t bytes, uint64_t rounds) {
    for (uint64_t round = 0; round < rounds; ++round) {
        for (uint64_t i = 0; i < bytes / sizeof(Line); i += 8) {
            REPEAT_8(LOAD)
            REPEAT_8(STORE)
        }
        __asm__ volatile("" : : : "memory");
    }
}

void copy_libc(Line *copy, const Line *source, uint64_t bytes, uint64_t rounds) {
    for (uint64_t round = 0; round < rounds; ++round) {
        memcpy(copy, source, bytes);
        __asm__ volatile("" : : : "memory");
    }
}

/* Lines that are read anyway before they are written cost no transfer of their own to be written to. */
void update_array(Line *changed, const Line *source, uint64_t bytes, uint64_t rounds) {
    for (uint64_t round = 0; round < rounds; ++round) {
        for (uint64_t i = 0; i < bytes / sizeof(Line); i += 8) {
            REPEAT_8(UPDATE)
        }
        __asm__ volatile("" : : : "memory");
    }
}
#else
#error "name the loop"
#endif
