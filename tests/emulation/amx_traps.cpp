// Lets a CPU without AMX run the AMX units' machine code as compiled: what it does not know stops with SIGILL, is read
// here (Intel SDM volume 2: VEX, ModRM, SIB, and the instructions' opcodes), and done by amx.h. Link it to a program.
#include <signal.h>
#include <ucontext.h>

#include "tests/emulation/amx.h"

namespace {

// By their numbers in instructions.
constexpr int kRegisters[] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                              REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};

struct Operand {
    int64_t base, stride;
    int bytes;  // of ModRM and what belongs to it
};

Operand read_operand(const unsigned char* modrm, bool index_high, bool base_high, const greg_t* registers) {
    using dcrnn_emulated_amx::fault;
    const int mode = modrm[0] >> 6, low = modrm[0] & 7;
    Operand found{0, 0, 1};
    int base = low + 8 * base_high;
    if (low == 4) {
        const unsigned char sib = modrm[found.bytes++];
        const int index = ((sib >> 3) & 7) + 8 * index_high;
        base = (sib & 7) + 8 * base_high;
        if (index != 4) found.stride = registers[kRegisters[index]] * (1 << (sib >> 6));
    }
    if (mode == 0 && (base & 7) == 5) fault("trap", "an address without a register is not read here");
    found.base = registers[kRegisters[base]];
    if (mode == 1) found.base += static_cast<signed char>(modrm[found.bytes++]);
    if (mode == 2) {
        int32_t offset;
        memcpy(&offset, modrm + found.bytes, 4);
        found.base += offset, found.bytes += 4;
    }
    return found;
}

void trap(int, siginfo_t*, void* context) {
    using namespace dcrnn_emulated_amx;
    greg_t* registers = static_cast<ucontext_t*>(context)->uc_mcontext.gregs;
    const auto* code = reinterpret_cast<const unsigned char*>(registers[REG_RIP]);
    if (code[0] != 0xc4 || (code[1] & 0x1f) != 2) fault("trap", "an unknown instruction");
    const bool index_high = !(code[1] & 0x40), base_high = !(code[1] & 0x20);
    const int prefix = code[2] & 3, third = ~(code[2] >> 3) & 15, opcode = code[3];
    const unsigned char* modrm = code + 4;
    const int tile = (*modrm >> 3) & 7;
    const bool in_memory = *modrm < 0xc0;
    Operand operand{0, 0, 1};
    if (in_memory) operand = read_operand(modrm, index_high, base_high, registers);
    auto* memory = reinterpret_cast<void*>(operand.base);
    if (opcode == 0x49 && prefix == 0 && in_memory)
        loadconfig(static_cast<const char*>(memory) + operand.stride);
    else if (opcode == 0x49 && prefix == 0)
        release();
    else if (opcode == 0x49 && prefix == 3 && !in_memory)
        zero(tile);
    else if (opcode == 0x4b && prefix == 3 && in_memory)
        load(tile, memory, operand.stride);
    else if (opcode == 0x4b && prefix == 2 && in_memory)
        stored(tile, memory, operand.stride);
    else if (opcode == 0x5c && prefix == 2 && !in_memory)
        dpbf16ps(tile, *modrm & 7, third);
    else
        fault("trap", "an unknown instruction");
    registers[REG_RIP] += 4 + operand.bytes;
}

[[gnu::constructor]] void install() {
    struct sigaction action{};
    action.sa_sigaction = trap;
    action.sa_flags = SA_SIGINFO;
    sigaction(SIGILL, &action, nullptr);
}

}  // namespace
