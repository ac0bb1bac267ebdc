// libgcc's unwinder asks the dynamic linker for _dl_find_object, which glibc has since 2.35 only;
// that one reference would keep these libraries from loading on older systems. They throw nothing
// but out-of-memory, which is to end the process anyway: "not found" here makes it do so.
extern "C" int _dl_find_object(void*, void*);
extern "C" int _dl_find_object(void*, void*) {
  return -1;
}
