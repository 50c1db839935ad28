# LibTorch as imported targets, out of the PyPI wheel. Its own CMake package wants nvcc at configure
# time; declaring the two libraries by hand needs none.
set(TORCH_ROOT ${LONGLORA_SITE_PACKAGES}/torch)
set(NVIDIA_ROOT ${LONGLORA_SITE_PACKAGES}/nvidia)

add_library(torch_headers INTERFACE)
target_include_directories(torch_headers SYSTEM INTERFACE ${TORCH_ROOT}/include ${TORCH_ROOT}/include/torch/csrc/api/include)
# Gloo's headers come from Debian (libgloo-dev), its code is inside LibTorch.
target_compile_definitions(torch_headers INTERFACE USE_C10D_GLOO USE_DISTRIBUTED)

add_library(torch_cpu SHARED IMPORTED)
set_target_properties(torch_cpu PROPERTIES IMPORTED_LOCATION ${TORCH_ROOT}/lib/libtorch_cpu.so)
add_library(torch_c10 SHARED IMPORTED)
set_target_properties(torch_c10 PROPERTIES IMPORTED_LOCATION ${TORCH_ROOT}/lib/libc10.so)

add_library(longlora_torch INTERFACE)
target_link_libraries(longlora_torch INTERFACE torch_headers torch_cpu torch_c10 Threads::Threads)
# libtorch_cpu needs cudart and cupti even without a GPU.
target_link_options(longlora_torch INTERFACE -Wl,--allow-shlib-undefined
  -Wl,-rpath,${TORCH_ROOT}/lib -Wl,-rpath,${NVIDIA_ROOT}/cu13/lib)
