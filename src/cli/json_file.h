/* SPDX-License-Identifier: BSD-3-Clause */
/* Configuration files: one JSON object each. */
#ifndef UVFIO_CLI_JSON_FILE_H
#define UVFIO_CLI_JSON_FILE_H

#include <uvfio/device.h>

struct json_object;

/* The object in @path, json_object_put() it; NULL with a message that says where it is wrong.
 * @example: of what it should look like.  @text, unless NULL: the file, free() it. */
struct json_object *json_file_read(const char *path, const char *example, char **text,
				   struct uvfio_error *err);
/* The line, from 1, in which element @index of the array @key of the object @text begins; 0: there
 * is none. */
unsigned json_file_line(const char *text, const char *key, unsigned index);

#endif
