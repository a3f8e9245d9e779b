/* Sets the registers of a traced process also where the kernel has more of them than User Mode Linux 6.1 knows: on
   processors with AMX it refuses to set a part, and guests panic. Loaded before linux.uml; see nfs_guests.sh. */
#define _GNU_SOURCE
#include <elf.h>
#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

long ptrace(enum __ptrace_request request, ...) {
    va_list rest;
    va_start(rest, request);
    long process = va_arg(rest, long), address = va_arg(rest, long);
    void *data = va_arg(rest, void *);
    va_end(rest);
    if (request == PTRACE_SETREGSET && address == NT_X86_XSTATE) {
        static char registers[1 << 16];
        struct iovec *known = data, all = {registers, sizeof registers};
        if (syscall(SYS_ptrace, PTRACE_GETREGSET, process, address, &all) == 0 && all.iov_len > known->iov_len) {
            memcpy(registers, known->iov_base, known->iov_len);
            data = &all;
        }
        return syscall(SYS_ptrace, request, process, address, data);
    }
    if (request != PTRACE_PEEKTEXT && request != PTRACE_PEEKDATA && request != PTRACE_PEEKUSER)
        return syscall(SYS_ptrace, request, process, address, data);
    long word, status = syscall(SYS_ptrace, request, process, address, &word); /* the kernel's call is not the library's */
    if (status < 0) return status;
    errno = 0;
    return word;
}
