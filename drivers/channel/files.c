/* Folders and files, in pieces. SPDX-License-Identifier: MIT */
#include "channel.h"

#include <bcrypt.h>
#include <stdlib.h>
#include <string.h>

enum { PATH_MAX_ = 1024, SHA256_SIZE = 32, CHUNK = 1 << 16 };

static bool path_of(const json_request *request, wchar_t *path, int room)
{
    const char *text = json_text(request, "path", "");
    /* From the root of a drive: nothing else says which file is meant. */
    if (!text[0] || text[1] != ':' || (text[2] != '\\' && text[2] != '/'))
        return false;
    return MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, text, -1, path, room) > 0;
}

static HANDLE open_file(text_buffer *answer, const json_request *request)
{
    wchar_t path[PATH_MAX_];
    if (!path_of(request, path, PATH_MAX_)) {
        answer_error(answer, request, "BadRequest", "The path is no absolute path.");
        return INVALID_HANDLE_VALUE;
    }
    HANDLE file = CreateFileW(path, GENERIC_READ, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, NULL, OPEN_EXISTING, 0, NULL);
    if (file == INVALID_HANDLE_VALUE)
        answer_win32(answer, request, GetLastError(), "Opening the file");
    return file;
}

void files_list(text_buffer *answer, const json_request *request)
{
    wchar_t path[PATH_MAX_ + 4];
    WIN32_FIND_DATAW found;
    if (!path_of(request, path, PATH_MAX_)) {
        answer_error(answer, request, "BadRequest", "The path is no absolute path.");
        return;
    }
    size_t length = wcslen(path);
    while (length && (path[length - 1] == L'\\' || path[length - 1] == L'/'))
        length--;
    wcscpy(path + length, L"\\*");
    HANDLE search = FindFirstFileW(path, &found);
    if (search == INVALID_HANDLE_VALUE) {
        answer_win32(answer, request, GetLastError(), "Listing the folder");
        return;
    }
    answer_begin(answer, request);
    text_add(answer, ",\"files\":[");
    int count = 0;
    do {
        if (!wcscmp(found.cFileName, L".") || !wcscmp(found.cFileName, L".."))
            continue;
        ULONGLONG size = (ULONGLONG)found.nFileSizeHigh << 32 | found.nFileSizeLow;
        ULONGLONG ticks = (ULONGLONG)found.ftLastWriteTime.dwHighDateTime << 32 | found.ftLastWriteTime.dwLowDateTime;
        ULONGLONG since_1970 = ticks / 10000000u > 11644473600u ? ticks / 10000000u - 11644473600u : 0;
        text_add(answer, "%s{\"name\":", count++ ? "," : "");
        answer_wide(answer, found.cFileName);
        text_add(answer, ",\"size\":%llu,\"time\":%llu,\"folder\":%s}", size, since_1970,
                 found.dwFileAttributes & FILE_ATTRIBUTE_DIRECTORY ? "true" : "false");
    } while (count < LIST_MAX && FindNextFileW(search, &found));
    FindClose(search);
    text_add(answer, "]");
}

static void add_base64(text_buffer *answer, const unsigned char *data, DWORD size)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char line[(READ_MAX + 2) / 3 * 4 + 1];
    size_t to = 0;
    for (DWORD i = 0; i < size; i += 3) {
        unsigned bits = (unsigned)data[i] << 16 | (i + 1 < size ? (unsigned)data[i + 1] << 8 : 0) | (i + 2 < size ? data[i + 2] : 0);
        line[to++] = digits[bits >> 18];
        line[to++] = digits[bits >> 12 & 63];
        line[to++] = i + 1 < size ? digits[bits >> 6 & 63] : '=';
        line[to++] = i + 2 < size ? digits[bits & 63] : '=';
    }
    line[to] = '\0';
    text_add(answer, "%s", line);
}

void files_read(text_buffer *answer, const json_request *request)
{
    static unsigned char piece[READ_MAX]; /* one request at a time */
    int64_t count = json_number(request, "count", READ_MAX);
    LARGE_INTEGER at = {.QuadPart = json_number(request, "offset", 0)};
    DWORD got = 0, wanted = count < 1 || count > READ_MAX ? READ_MAX : (DWORD)count;
    HANDLE file = open_file(answer, request);
    if (file == INVALID_HANDLE_VALUE)
        return;
    if (at.QuadPart < 0 || !SetFilePointerEx(file, at, NULL, FILE_BEGIN) || !ReadFile(file, piece, wanted, &got, NULL)) {
        answer_win32(answer, request, GetLastError(), "Reading the file");
    } else {
        answer_begin(answer, request);
        text_add(answer, ",\"data\":\"");
        add_base64(answer, piece, got);
        text_add(answer, "\",\"end\":%s", got < wanted ? "true" : "false");
    }
    CloseHandle(file);
}

static bool hash_rest(HANDLE file, unsigned char digest[SHA256_SIZE])
{
    static unsigned char chunk[CHUNK]; /* one request at a time */
    BCRYPT_ALG_HANDLE algorithm = NULL;
    BCRYPT_HASH_HANDLE hash = NULL;
    DWORD got = 0;
    bool ok = BCryptOpenAlgorithmProvider(&algorithm, BCRYPT_SHA256_ALGORITHM, NULL, 0) >= 0 &&
              BCryptCreateHash(algorithm, &hash, NULL, 0, NULL, 0, 0) >= 0;
    while (ok && (ok = ReadFile(file, chunk, CHUNK, &got, NULL)) && got)
        ok = BCryptHashData(hash, chunk, got, 0) >= 0;
    ok = ok && BCryptFinishHash(hash, digest, SHA256_SIZE, 0) >= 0;
    if (hash)
        BCryptDestroyHash(hash);
    if (algorithm)
        BCryptCloseAlgorithmProvider(algorithm, 0);
    return ok;
}

void files_hash(text_buffer *answer, const json_request *request)
{
    unsigned char digest[SHA256_SIZE];
    LARGE_INTEGER size;
    HANDLE file = open_file(answer, request);
    if (file == INVALID_HANDLE_VALUE)
        return;
    if (!GetFileSizeEx(file, &size) || !hash_rest(file, digest)) {
        answer_win32(answer, request, GetLastError(), "Hashing the file");
    } else {
        answer_begin(answer, request);
        text_add(answer, ",\"size\":%lld,\"sha256\":\"", (long long)size.QuadPart);
        text_add_hex(answer, digest, sizeof digest);
        text_add(answer, "\"");
    }
    CloseHandle(file);
}
