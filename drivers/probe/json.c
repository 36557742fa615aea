/* JSON as the probe speaks it. SPDX-License-Identifier: MIT */
#define __USE_MINGW_ANSI_STDIO 1
#include "json.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char *skip(char *at)
{
    while (*at == ' ' || *at == '\t' || *at == '\r' || *at == '\n')
        at++;
    return at;
}

static char *put_utf8(char *out, unsigned code)
{
    if (code < 0x80) {
        *out++ = (char)code;
    } else if (code < 0x800) {
        *out++ = (char)(0xC0 | (code >> 6));
        *out++ = (char)(0x80 | (code & 0x3F));
    } else {
        *out++ = (char)(0xE0 | (code >> 12));
        *out++ = (char)(0x80 | ((code >> 6) & 0x3F));
        *out++ = (char)(0x80 | (code & 0x3F));
    }
    return out;
}

/* Unescapes the string that begins after the quote at `at`, in place; returns what follows the closing quote. */
static char *take_string(char *at, char **value)
{
    char *out = at;
    *value = at;
    while (*at && *at != '"') {
        if (*at != '\\') {
            *out++ = *at++;
            continue;
        }
        at++;
        switch (*at) {
        case 'n': *out++ = '\n'; break;
        case 't': *out++ = '\t'; break;
        case 'r': *out++ = '\r'; break;
        case 'b': *out++ = '\b'; break;
        case 'f': *out++ = '\f'; break;
        case 'u': {
            char digits[5] = {0};
            for (int i = 0; i < 4; i++) {
                if (!isxdigit((unsigned char)at[1 + i]))
                    return NULL;
                digits[i] = at[1 + i];
            }
            out = put_utf8(out, (unsigned)strtoul(digits, NULL, 16));
            at += 4;
            break;
        }
        case '\0': return NULL;
        default: *out++ = *at;
        }
        at++;
    }
    if (*at != '"')
        return NULL;
    *out = '\0';
    return at + 1;
}

bool json_parse(json_request *request, char *line)
{
    request->count = 0;
    char *at = skip(line);
    if (*at++ != '{')
        return false;
    at = skip(at);
    while (*at && *at != '}') {
        if (request->count == JSON_MEMBERS || *at != '"')
            return false;
        json_member *member = &request->members[request->count];
        char *key, *value;
        at = take_string(at + 1, &key);
        if (!at)
            return false;
        at = skip(at);
        if (*at++ != ':')
            return false;
        at = skip(at);
        member->is_string = *at == '"';
        if (member->is_string) {
            at = take_string(at + 1, &value);
            if (!at)
                return false;
            at = skip(at);
        } else {
            value = at;
            while (*at && strchr("+-.0123456789abcdefghijklmnopqrstuvwxyzABCDEF", *at))
                at++;
            if (at == value)
                return false;
        }
        char *end = at;
        at = skip(at);
        char delimiter = *at;
        if (!member->is_string)
            *end = '\0';
        if (delimiter != ',' && delimiter != '}')
            return false;
        member->key = key;
        member->text = value;
        request->count++;
        if (delimiter == '}')
            return *skip(at + 1) == '\0';
        at = skip(at + 1);
    }
    return *at == '}';
}

static const json_member *find(const json_request *request, const char *key)
{
    for (int i = 0; i < request->count; i++) {
        const json_member *member = &request->members[i];
        if (!strcmp(member->key, key))
            return member->is_string || strcmp(member->text, "null") ? member : NULL;
    }
    return NULL;
}

const char *json_text(const json_request *request, const char *key, const char *otherwise)
{
    const json_member *member = find(request, key);
    return member ? member->text : otherwise;
}

int64_t json_number(const json_request *request, const char *key, int64_t otherwise)
{
    const json_member *member = find(request, key);
    if (!member)
        return otherwise;
    if (member->text[0] == '-')
        return strtoll(member->text, NULL, 0);
    return (int64_t)strtoull(member->text, NULL, 0);
}

bool json_true(const json_request *request, const char *key)
{
    const json_member *member = find(request, key);
    return member && !member->is_string && !strcmp(member->text, "true");
}

bool json_has(const json_request *request, const char *key)
{
    return find(request, key) != NULL;
}

static void reserve(text_buffer *text, size_t more)
{
    if (text->length + more < text->capacity)
        return;
    text->capacity = (text->length + more) * 2 + 256;
    text->data = realloc(text->data, text->capacity);
    if (!text->data)
        abort();
}

void text_add(text_buffer *text, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int needed = vsnprintf(NULL, 0, format, args);
    va_end(args);
    reserve(text, (size_t)needed + 1);
    va_start(args, format);
    vsnprintf(text->data + text->length, (size_t)needed + 1, format, args);
    va_end(args);
    text->length += (size_t)needed;
}

void text_add_string(text_buffer *text, const char *value)
{
    text_add(text, "\"");
    for (; *value; value++) {
        unsigned char c = (unsigned char)*value;
        if (c == '"' || c == '\\')
            text_add(text, "\\%c", c);
        else if (c < 0x20)
            text_add(text, "\\u%04x", c);
        else
            text_add(text, "%c", c);
    }
    text_add(text, "\"");
}

void text_add_hex(text_buffer *text, const void *data, size_t length)
{
    static const char digits[] = "0123456789abcdef";
    const unsigned char *bytes = data;
    reserve(text, length * 2 + 1);
    for (size_t i = 0; i < length; i++) {
        text->data[text->length++] = digits[bytes[i] >> 4];
        text->data[text->length++] = digits[bytes[i] & 15];
    }
    text->data[text->length] = '\0';
}

int hex_decode(const char *text, unsigned char *out, size_t capacity)
{
    size_t digits = strlen(text);
    if (digits % 2 || digits / 2 > capacity)
        return -1;
    for (size_t i = 0; i < digits / 2; i++) {
        char pair[3] = {text[2 * i], text[2 * i + 1], 0};
        if (!isxdigit((unsigned char)pair[0]) || !isxdigit((unsigned char)pair[1]))
            return -1;
        out[i] = (unsigned char)strtoul(pair, NULL, 16);
    }
    return (int)(digits / 2);
}
