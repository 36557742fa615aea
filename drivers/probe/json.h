/* Reads one flat JSON object and writes one; all that the probe's protocol needs. SPDX-License-Identifier: MIT */
#ifndef PROBE_JSON_H
#define PROBE_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { JSON_MEMBERS = 48 };

typedef struct json_member {
    const char *key;
    const char *text;  /* string value, or the literal of a number or a word; nested values are not accepted */
    bool is_string;
} json_member;

typedef struct json_request {
    int count;
    json_member members[JSON_MEMBERS];
    char *buffer;      /* owns every key and text */
    struct sink *out;  /* set by the dispatcher */
} json_request;

/* Parses in place; `line` must stay alive as long as the request. False when it is no flat object. */
bool json_parse(json_request *request, char *line);
const char *json_text(const json_request *request, const char *key, const char *otherwise);
int64_t json_number(const json_request *request, const char *key, int64_t otherwise);
bool json_true(const json_request *request, const char *key);
bool json_has(const json_request *request, const char *key);

typedef struct text_buffer {
    char *data;
    size_t length, capacity;
} text_buffer;

void text_add(text_buffer *text, const char *format, ...) __attribute__((format(gnu_printf, 2, 3)));
void text_add_string(text_buffer *text, const char *value); /* quoted and escaped */
void text_add_hex(text_buffer *text, const void *data, size_t length);
/* Decodes hexadecimal digits; returns the number of bytes, or -1 when there is anything else. */
int hex_decode(const char *text, unsigned char *out, size_t capacity);

#endif
