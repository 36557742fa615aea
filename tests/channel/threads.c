/* Threads that stand in known places: one turns in a loop, one waits on a lock that is never given. SPDX-License-Identifier: MIT */
#include <windows.h>
#include <stdio.h>

static volatile LONG turns, ready;
static HANDLE never;

__attribute__((noinline)) static void spin_inner(void)
{
    InterlockedIncrement(&ready);
    for (;;)
        turns++;
}

__attribute__((noinline)) static DWORD WINAPI spin_outer(void *unused)
{
    volatile char room[5000]; /* more than a small allocation */
    (void)unused;
    room[0] = 1;
    spin_inner();
    return (DWORD)room[0];
}

__attribute__((noinline)) static void wait_inner(void)
{
    InterlockedIncrement(&ready);
    WaitForSingleObject(never, INFINITE);
    turns++;
}

__attribute__((noinline)) static DWORD WINAPI wait_outer(void *unused)
{
    (void)unused;
    wait_inner();
    turns++;
    return 0;
}

int main(void)
{
    never = CreateEventW(NULL, TRUE, FALSE, NULL);
    CreateThread(NULL, 0, spin_outer, NULL, 0, NULL);
    CreateThread(NULL, 0, wait_outer, NULL, 0, NULL);
    while (ready < 2)
        Sleep(1);
    printf("%p %p %p %p %p\n", (void *)GetModuleHandleW(NULL), (void *)spin_inner, (void *)spin_outer, (void *)wait_inner, (void *)wait_outer);
    fflush(stdout);
    Sleep(INFINITE);
    return 0;
}
