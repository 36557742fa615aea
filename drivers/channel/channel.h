/*
 * wfpchannel.exe: the second control channel's end in a Windows guest. Lines of JSON on a serial port, as
 * harness/guest/second_channel.py speaks them; no request needs the network.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef CHANNEL_H
#define CHANNEL_H

#include <winsock2.h>
#include <windows.h>

#include "json.h"

enum { REQUEST_MAX = 4096, READ_MAX = 24 << 10, LIST_MAX = 256 };

/* Begins an answer that worked; what follows are further members, each with a comma before it. */
void answer_begin(text_buffer *answer, const json_request *request);
void answer_error(text_buffer *answer, const json_request *request, const char *name, const char *message);
void answer_win32(text_buffer *answer, const json_request *request, DWORD code, const char *what);
void answer_wide(text_buffer *answer, const wchar_t *text); /* quoted */

/* files.c */
void files_list(text_buffer *answer, const json_request *request);
void files_read(text_buffer *answer, const json_request *request);
void files_hash(text_buffer *answer, const json_request *request);

#endif
