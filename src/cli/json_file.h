/* SPDX-License-Identifier: BSD-3-Clause */
/* Configuration files: one JSON object each. */
#ifndef UVFIO_CLI_JSON_FILE_H
#define UVFIO_CLI_JSON_FILE_H

#include <uvfio/device.h>

struct json_object;
struct vfio_policy;

/* The object in @path, json_object_put() it; NULL with a message that says where it is wrong.
 * @example: of what it should look like.  @text, unless NULL: the file, free() it. */
struct json_object *json_file_read(const char *path, const char *example, char **text,
				   struct uvfio_error *err);
/* The line, from 1, in which element @index of the array @key of the object @text begins; 0: there
 * is none. */
unsigned json_file_line(const char *text, const char *key, unsigned index);
/* Take the members of @object, "policy" of the file @path (NULL: messages do not name it), as
 * knobs. 0, or -errno with a message. */
int json_file_policy(struct json_object *object, struct vfio_policy *policy, const char *path,
		     struct uvfio_error *err);

#endif
