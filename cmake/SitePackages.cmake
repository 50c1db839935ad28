# Where ./dev unpacked the wheels: LibTorch, CUDA compiler and libraries, standard .proto files.
file(GLOB LONGLORA_SITE_PACKAGES ${CMAKE_SOURCE_DIR}/.deps/python/lib/python3*/site-packages)
set(LONGLORA_SITE_PACKAGES ${LONGLORA_SITE_PACKAGES} CACHE PATH "Folder that holds the unpacked wheels")
if(NOT EXISTS ${LONGLORA_SITE_PACKAGES}/torch)
  message(FATAL_ERROR "The Python wheels are not installed: run ./dev setup, or set LONGLORA_SITE_PACKAGES")
endif()
