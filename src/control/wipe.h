/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * VF tokens (C) in JSON: none of them stays in memory that was freed.
 *
 * A tokener collects each string in a buffer, which grows by leaving a smaller one behind.  One that
 * is as large as any message from the beginning does not.
 */
#ifndef UVFIO_CONTROL_WIPE_H
#define UVFIO_CONTROL_WIPE_H

#include <json-c/json.h>
#include <stddef.h>

/* For strings of less than @bytes.  0, or -1 for want of memory. */
int json_reserve(struct json_tokener *tokener, size_t bytes);
/* What a message of less than @bytes has left in its buffer. */
void json_wipe_tokener(struct json_tokener *tokener, size_t bytes);
/* Write over the tokens in @value: vf_token= in strings, "vf_token" of objects; down to the depth that
 * the tokener lets through. */
void json_wipe_tokens(struct json_object *value);

#endif
