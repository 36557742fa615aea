/* A program with sockets, for a guest whose filter engine does not answer. Exit code: which call failed. SPDX-License-Identifier: MIT */
#include <winsock2.h>

#define CHECK(number, holds) \
    do {                     \
        if (!(holds))        \
            return number;   \
    } while (0)

static fd_set readable, writable, failed;

static void into_all_sets(SOCKET one)
{
    FD_ZERO(&readable);
    FD_ZERO(&writable);
    FD_ZERO(&failed);
    FD_SET(one, &readable);
    FD_SET(one, &writable);
    FD_SET(one, &failed);
}

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

    /* One socket in all sets: each tells its own, and a wait in vain leaves them empty. */
    struct timeval soon = {0, 20000}, late = {20, 0};
    into_all_sets(client);
    CHECK(20, select(0, &readable, NULL, &failed, &soon) == 0 && !readable.fd_count && !failed.fd_count);
    into_all_sets(client);
    CHECK(21, select(0, &readable, &writable, &failed, &late) == 1 && !readable.fd_count && FD_ISSET(client, &writable) && !failed.fd_count);
    CHECK(22, send(served, &byte, 1, 0) == 1);
    into_all_sets(client);
    CHECK(23, select(0, &readable, NULL, &failed, &late) == 1 && FD_ISSET(client, &readable) && !failed.fd_count && recv(client, &byte, 1, 0) == 1);
    struct linger hard = {1, 0};
    CHECK(24, !setsockopt(served, SOL_SOCKET, SO_LINGER, (char *)&hard, sizeof hard) && !closesocket(served));
    into_all_sets(client);
    CHECK(25, select(0, &readable, NULL, &failed, &late) >= 1 && FD_ISSET(client, &readable) && recv(client, &byte, 1, 0) <= 0);
    CHECK(26, !closesocket(listener));
    SOCKET refused = socket(AF_INET, SOCK_STREAM, 0);
    u_long on = 1;
    CHECK(27, !ioctlsocket(refused, FIONBIO, &on) && connect(refused, (struct sockaddr *)&at, sizeof at) && WSAGetLastError() == WSAEWOULDBLOCK);
    into_all_sets(refused);
    CHECK(28, select(0, NULL, &writable, &failed, &late) == 1 && !writable.fd_count && FD_ISSET(refused, &failed) && !closesocket(refused));
    into_all_sets(refused);
    CHECK(29, select(0, &readable, NULL, &failed, &late) == SOCKET_ERROR && WSAGetLastError() == WSAENOTSOCK);
    served = socket(AF_INET, SOCK_STREAM, 0);
    listener = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(11, !closesocket(served) && !closesocket(client) && !closesocket(listener) && !closesocket(datagrams));
    CHECK(12, closesocket(listener) && WSAGetLastError() == WSAENOTSOCK);
    return 0;
}
