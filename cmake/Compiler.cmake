# Language level, warnings and hardening, the same for every target.
set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
set(CMAKE_LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/lib)

if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release)
endif()
set(CMAKE_CXX_FLAGS_RELEASE "-O2 -DNDEBUG")
set(CMAKE_CXX_FLAGS_DEBUG "-Og -g1")

find_program(CCACHE ccache)
if(CCACHE)
  set(CMAKE_C_COMPILER_LAUNCHER ${CCACHE})
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CCACHE})
endif()
find_program(MOLD mold)
if(MOLD)
  add_link_options(-fuse-ld=mold)
endif()

# -Wconversion is left to clang-tidy: LibTorch's and gRPC's inline code is not clean under it.
set(LONGLORA_WARNINGS -Wall -Wextra -Wformat=2 -Wimplicit-fallthrough -Wno-unused-parameter)
add_compile_options(-fstack-protector-strong)
add_link_options(-Wl,-z,relro,-z,now,-z,noexecstack)
# ccache can only reuse precompiled headers when the preprocessor keeps them apart.
add_compile_options($<$<COMPILE_LANGUAGE:CXX>:-fpch-preprocess>)

if(LONGLORA_SANITIZE)
  add_compile_options(-fsanitize=${LONGLORA_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
  add_link_options(-fsanitize=${LONGLORA_SANITIZE})
else()
  add_compile_options($<$<AND:$<COMPILE_LANGUAGE:CXX>,$<CONFIG:Release>>:-D_FORTIFY_SOURCE=2>
                      -D_GLIBCXX_ASSERTIONS -fstack-clash-protection -fcf-protection=full)
endif()

if(LONGLORA_SANITIZE STREQUAL "thread")
  # tools/install-tsan-abseil, in place of Debian's: below libgrpc++, too, where only the old kind of run path holds.
  add_link_options(-Wl,-rpath,${CMAKE_SOURCE_DIR}/.deps/tsan-abseil -Wl,--disable-new-dtags)
endif()

find_package(Threads REQUIRED)
find_package(absl REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(OpenSSL REQUIRED)
find_package(GTest REQUIRED)
