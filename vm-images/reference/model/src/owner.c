/*
 * The process that owns a socket. Linux cannot tell: Wine's sockets belong to wineserver, and a process gets at the
 * descriptor only when it first reads or writes. Wineserver's handle table can: each process's handles are looked
 * through for a socket with the wanted addresses, without ever sending a request to a device behind a handle.
 *
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "linux.h"
#include "model.h"

enum { SYSTEM_EXTENDED_HANDLES = 64, FIRST_ROOM = 64 * 1024, ANY_TYPE = 0 };

struct entry {
    void *object;
    ULONG_PTR process, handle;
    ULONG access;
    USHORT trace, type;
    ULONG attributes, reserved;
};
struct table {
    ULONG_PTR count, reserved;
    struct entry entry[];
};

NTSTATUS NTAPI NtQuerySystemInformation(ULONG what, void *out, ULONG size, ULONG *needed);
typedef NTSTATUS(CDECL *HANDLE_TO_FD)(HANDLE handle, unsigned access, int *fd, unsigned *options);

static SRWLOCK owner_lock = SRWLOCK_INIT; /* the two below */
static UINT32 last_owner;
static USHORT file_type; /* the type number of handles of files and sockets, once one was met */

static struct table *read_table(void)
{
    ULONG size = FIRST_ROOM, needed;
    for (int attempt = 0; attempt < 6; attempt++, size *= 2) {
        struct table *table = mem_alloc(size);
        if (!NtQuerySystemInformation(SYSTEM_EXTENDED_HANDLES, table, size, &needed))
            return table;
        mem_free(table);
    }
    return NULL;
}

enum fit { UNFIT, LISTENS, FITS };

/* A socket bound to :: may take IPv4 too. */
static BOOL bound_for(const struct address *socket, const struct address *local)
{
    return address_equal(socket, local) || (address_is_zero(socket) && (socket->family == local->family || socket->family == FAMILY_V6));
}

static enum fit fits(const struct linux_socket *seen, const struct tuple *t)
{
    if (seen->protocol != t->protocol || seen->local_port != t->local_port || !bound_for(&seen->local, &t->local))
        return UNFIT;
    if (seen->remote_port)
        return address_equal(&seen->remote, &t->remote) && seen->remote_port == t->remote_port ? FITS : UNFIT;
    return seen->listening ? LISTENS : FITS;
}

static enum fit look_at(const struct entry *entry, HANDLE process, HANDLE_TO_FD to_fd, const struct tuple *t)
{
    HANDLE copy;
    int fd;
    struct linux_socket seen;
    enum fit fit = UNFIT;
    if (!DuplicateHandle(process, (HANDLE)entry->handle, GetCurrentProcess(), &copy, 0, FALSE, DUPLICATE_SAME_ACCESS))
        return UNFIT;
    if (!to_fd(copy, 0, &fd, NULL)) {
        file_type = entry->type;
        if (linux_socket_of(fd, &seen))
            fit = fits(&seen, t);
        linux_close(fd);
    }
    CloseHandle(copy);
    return fit;
}

/* Best fit among the handles of one process. */
static enum fit look_through(const struct table *table, UINT32 pid, HANDLE_TO_FD to_fd, const struct tuple *t)
{
    HANDLE process = OpenProcess(PROCESS_DUP_HANDLE, FALSE, pid);
    enum fit best = UNFIT;
    if (!process)
        return UNFIT;
    for (ULONG_PTR i = 0; i < table->count && best != FITS; i++) {
        const struct entry *entry = &table->entry[i];
        if (entry->process != pid || (file_type != ANY_TYPE && entry->type != file_type))
            continue;
        enum fit fit = look_at(entry, process, to_fd, t);
        best = fit > best ? fit : best;
    }
    CloseHandle(process);
    return best;
}

UINT32 owner_of_socket(const struct tuple *t)
{
    HANDLE_TO_FD to_fd = (HANDLE_TO_FD)(uintptr_t)GetProcAddress(GetModuleHandleW(L"ntdll.dll"), "wine_server_handle_to_fd");
    UINT32 found = 0, listener = 0;
    if (!to_fd)
        return 0;
    AcquireSRWLockExclusive(&owner_lock);
    struct table *table = read_table();
    if (table && last_owner) {
        enum fit fit = look_through(table, last_owner, to_fd, t);
        found = fit == FITS ? last_owner : 0;
        listener = fit == LISTENS ? last_owner : 0;
    }
    for (ULONG_PTR i = 0; table && i < table->count && !found && !listener; i++) {
        UINT32 pid = (UINT32)table->entry[i].process;
        if ((i && table->entry[i - 1].process == pid) || pid == last_owner)
            continue;
        enum fit fit = look_through(table, pid, to_fd, t);
        found = fit == FITS ? pid : 0;
        listener = fit == LISTENS ? pid : listener;
    }
    mem_free(table);
    found = found ? found : listener;
    last_owner = found ? found : last_owner;
    ReleaseSRWLockExclusive(&owner_lock);
    return found;
}
