/* SPDX-License-Identifier: BSD-3-Clause */
#include <json-c/json_tokener.h>
#include <json-c/printbuf.h>
#include <string.h>
#include "control/wipe.h"
#include "vfio/token.h"

int json_reserve(struct json_tokener *tokener, size_t bytes)
{
	struct printbuf *pb = tokener->pb;

	if (printbuf_memset(pb, 0, 0, (int)bytes) < 0)
		return -1;
	printbuf_reset(pb);
	return 0;
}

void json_wipe_tokener(struct json_tokener *tokener, size_t bytes)
{
	struct printbuf *pb = tokener->pb;

	explicit_bzero(pb->buf, bytes < (size_t)pb->size ? bytes : (size_t)pb->size);
}

void json_wipe_tokens(struct json_object *value)
{
	switch (json_object_get_type(value)) {
	case json_type_string:
		vfio_token_redact((char *)json_object_get_string(value));
		break;
	case json_type_array:
		for (size_t i = 0; i < json_object_array_length(value); i++)
			json_wipe_tokens(json_object_array_get_idx(value, i));
		break;
	case json_type_object: {
		json_object_object_foreach(value, key, member)
		{
			(void)key;
			if (!strcmp(key, "vf_token") &&
			    json_object_is_type(member, json_type_string))
				memset((char *)json_object_get_string(member), '*',
				       (size_t)json_object_get_string_len(member));
			else
				json_wipe_tokens(member);
		}
		break;
	}
	default:
		break;
	}
}
