/* A program with sockets, for a guest whose filter engine does not answer. Exit code: which call failed. SPDX-License-Identifier: MIT */
#include <winsock2.h>

#define CHECK(number, holds) \
    do {                     \
        if (!(holds))        \
            return number;   \
    } while (0)

int main(void)
{
    WSADATA data;
    struct sockaddr_in at = {.sin_family = AF_INET}, any = {.sin_family = AF_INET};
    int size = sizeof at;
    char byte = 'x';
    DWORD got = 0;
    HMODULE front = GetModuleHandleW(L"ws2_32.dll");
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    CHECK(1, !WSAStartup(0x202, &data));
    CHECK(2, GetModuleHandleW(L"ws2_wine.dll") && GetModuleHandleW(L"ws2_wine.dll") != front);
    SOCKET listener = socket(AF_INET, SOCK_STREAM, 0), client = socket(AF_INET, SOCK_STREAM, 0), datagrams = socket(AF_INET, SOCK_DGRAM, 0);
    CHECK(3, !bind(listener, (struct sockaddr *)&at, sizeof at) && !getsockname(listener, (struct sockaddr *)&at, &size) && at.sin_port);
    CHECK(4, !listen(listener, 1));
    CHECK(5, !connect(client, (struct sockaddr *)&at, sizeof at));
    SOCKET served = accept(listener, NULL, NULL);
    CHECK(6, served != INVALID_SOCKET && send(client, &byte, 1, 0) == 1 && recv(served, &byte, 1, 0) == 1);
    CHECK(7, bind(listener, (struct sockaddr *)&any, sizeof any) && WSAGetLastError() == WSAEINVAL); /* it is bound */
    CHECK(8, sendto(datagrams, &byte, 1, 0, (struct sockaddr *)&at, sizeof at) == 1);
    CHECK(9, !getsockname(datagrams, (struct sockaddr *)&any, &size) && any.sin_port); /* bound by sending */
    CHECK(10, WSAIoctl(served, 0x980000DC, NULL, 0, NULL, 0, &got, NULL, NULL) && WSAGetLastError() == WSAEOPNOTSUPP);
    CHECK(11, !closesocket(served) && !closesocket(client) && !closesocket(listener) && !closesocket(datagrams));
    CHECK(12, closesocket(listener) && WSAGetLastError() == WSAENOTSOCK);
    return 0;
}
