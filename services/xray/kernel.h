#pragma once

namespace gpuward::xray {

// One token step. On a real card every thread multiplies and adds until the card's clock has moved
// by `ns`; the comment line tells the simulated card how long a launch takes, and any PTX compiler
// skips it. The result is stored so that no compiler may drop the work.
inline constexpr char kTokenStepPtx[] = R"(// gpusim: token_step ns=param0
.version 7.0
.target sm_70
.address_size 64

.visible .entry token_step(
    .param .u64 token_step_ns,
    .param .u64 token_step_out)
{
    .reg .pred %p<3>;
    .reg .f32 %f<4>;
    .reg .b32 %r<5>;
    .reg .b64 %rd<10>;

    ld.param.u64 %rd1, [token_step_ns];
    ld.param.u64 %rd2, [token_step_out];
    mov.u64 %rd3, %globaltimer;
    add.s64 %rd4, %rd3, %rd1;
    mov.u32 %r1, %tid.x;
    mov.u32 %r2, %ctaid.x;
    mov.u32 %r3, %ntid.x;
    mad.lo.s32 %r4, %r2, %r3, %r1;
    cvt.rn.f32.u32 %f1, %r4;
    mov.f32 %f2, 0f3F7FFF58;
    mov.f32 %f3, 0f3F000000;
STEP:
    fma.rn.f32 %f1, %f1, %f2, %f3;
    fma.rn.f32 %f1, %f1, %f2, %f3;
    fma.rn.f32 %f1, %f1, %f2, %f3;
    fma.rn.f32 %f1, %f1, %f2, %f3;
    fma.rn.f32 %f1, %f1, %f2, %f3;
    fma.rn.f32 %f1, %f1, %f2, %f3;
    fma.rn.f32 %f1, %f1, %f2, %f3;
    fma.rn.f32 %f1, %f1, %f2, %f3;
    mov.u64 %rd5, %globaltimer;
    setp.lt.u64 %p1, %rd5, %rd4;
    @%p1 bra STEP;
    setp.eq.u64 %p2, %rd2, 0;
    @%p2 bra DONE;
    cvta.to.global.u64 %rd6, %rd2;
    mul.wide.u32 %rd7, %r4, 4;
    add.s64 %rd8, %rd6, %rd7;
    st.global.f32 [%rd8], %f1;
DONE:
    ret;
}
)";

inline constexpr unsigned kGrid = 64;    // blocks
inline constexpr unsigned kBlock = 256;  // threads; kGrid * kBlock * 4 bytes of results = 64 KiB

}  // namespace gpuward::xray
