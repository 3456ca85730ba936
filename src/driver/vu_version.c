/* SPDX-License-Identifier: BSD-3-Clause */
/* VERSION: what we offer, and what the server makes of it. */
#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>
#include "driver/vu.h"

size_t vu_version_request(char *buf, size_t size, bool twin, bool go_on)
{
	struct vfio_user_version v = {.major = VFIO_USER_MAJOR, .minor = VFIO_USER_MINOR};
	int n;

	memcpy(buf, &v, sizeof(v));
	n = snprintf(buf + sizeof(v), size - sizeof(v),
		     "{\"capabilities\":{\"max_msg_fds\":%u,\"max_data_xfer_size\":%u,"
		     "\"max_dma_maps\":%u,\"pgsizes\":4096,\"write_multiple\":true%s%s}}",
		     VFIO_USER_MAX_FDS, VU_XFER, VFIO_USER_DEFAULT_DMA_MAPS,
		     twin ? ",\"twin_socket\":{\"supported\":true}" : "",
		     go_on ? ",\"" VFIO_USER_CAP_CONTINUE "\":true" : "");
	return sizeof(v) + (size_t)n + 1;
}

/* The number called @key in @o, from @min to @max, if it is there. */
static int number(json_object *o, const char *key, uint64_t min, uint64_t max, uint64_t *out,
		  struct uvfio_error *err)
{
	json_object *v;
	int64_t n;

	if (!json_object_object_get_ex(o, key, &v))
		return 0;
	n = json_object_is_type(v, json_type_int) ? json_object_get_int64(v) : -1;
	if (n < 0 || (uint64_t)n < min)
		return uvfio_error_set(err, -EPROTO, "the server says %s is %s", key,
				       json_object_to_json_string(v));
	*out = (uint64_t)n > max ? max : (uint64_t)n;
	return 0;
}

static int twin_socket(json_object *caps, struct vu_limits *limits, struct uvfio_error *err)
{
	json_object *twin, *v;
	uint64_t index = UINT64_MAX;
	int ret;

	if (!json_object_object_get_ex(caps, VFIO_USER_CAP_TWIN_SOCKET, &twin) ||
	    !json_object_object_get_ex(twin, VFIO_USER_CAP_TWIN_SUPPORTED, &v) ||
	    !json_object_get_boolean(v))
		return 0;
	ret = number(twin, VFIO_USER_CAP_TWIN_FD_INDEX, 0, VFIO_USER_MAX_FDS, &index, err);
	if (!ret && index >= VFIO_USER_MAX_FDS)
		ret = uvfio_error_set(err, -EPROTO,
				      "the server has a twin socket, but does not say which "
				      "descriptor it is");
	if (!ret)
		limits->twin = (int)index;
	return ret;
}

static int capabilities(json_object *caps, bool twin, struct vu_limits *limits,
			struct uvfio_error *err)
{
	uint64_t fds = VFIO_USER_DEFAULT_MSG_FDS, xfer = VFIO_USER_DEFAULT_XFER_SIZE,
		 maps = VFIO_USER_DEFAULT_DMA_MAPS, pgsizes = VFIO_USER_DEFAULT_PGSIZES;
	json_object *v;
	int ret;

	ret = number(caps, VFIO_USER_CAP_MAX_MSG_FDS, 0, VFIO_USER_MAX_FDS, &fds, err);
	/* Registers are up to 8 bytes. */
	if (!ret)
		ret = number(caps, VFIO_USER_CAP_MAX_XFER_SIZE, 8, VU_XFER, &xfer, err);
	if (!ret)
		ret = number(caps, VFIO_USER_CAP_MAX_DMA_MAPS, 1, UINT32_MAX, &maps, err);
	if (!ret)
		ret = number(caps, VFIO_USER_CAP_PGSIZES, DRV_PAGE, INT64_MAX, &pgsizes, err);
	if (!ret && twin)
		ret = twin_socket(caps, limits, err);
	if (ret)
		return ret;
	limits->max_fds = (unsigned)fds;
	limits->max_xfer = (uint32_t)xfer;
	limits->max_maps = maps;
	limits->page_size = pgsizes & -pgsizes;
	if (limits->page_size < DRV_PAGE)
		limits->page_size = DRV_PAGE;
	limits->write_multi = json_object_object_get_ex(caps, VFIO_USER_CAP_WRITE_MULTIPLE, &v) &&
			      json_object_get_boolean(v);
	limits->continued = json_object_object_get_ex(caps, VFIO_USER_CAP_CONTINUED, &v) &&
			    json_object_get_boolean(v);
	return 0;
}

int vu_version_parse(const uint8_t *payload, size_t len, bool twin, struct vu_limits *limits,
		     struct uvfio_error *err)
{
	struct vfio_user_version v;
	json_object *root = NULL, *caps;
	json_tokener *tokener;
	const char *text = (const char *)payload + sizeof(v);
	size_t text_len;
	int ret;

	*limits = (struct vu_limits){
		.max_fds = VFIO_USER_DEFAULT_MSG_FDS,
		.max_xfer = VFIO_USER_DEFAULT_XFER_SIZE,
		.max_maps = VFIO_USER_DEFAULT_DMA_MAPS,
		.page_size = DRV_PAGE,
		.twin = -1,
	};
	if (len < sizeof(v))
		return uvfio_error_set(err, -EPROTO, "the server's VERSION is %zu bytes", len);
	memcpy(&v, payload, sizeof(v));
	if (v.major != VFIO_USER_MAJOR || v.minor > VFIO_USER_MINOR)
		return uvfio_error_set(
			err, -EPROTO,
			"the server speaks version %u.%u of vfio-user, this program %u.%u", v.major,
			v.minor, VFIO_USER_MAJOR, VFIO_USER_MINOR);
	text_len = len - sizeof(v);
	if (!text_len)
		return 0;
	if (text[text_len - 1] != '\0')
		return uvfio_error_set(err, -EPROTO, "the server's VERSION has no end");
	tokener = json_tokener_new_ex(8);
	if (!tokener)
		return uvfio_error_set(err, -ENOMEM, "no memory");
	root = json_tokener_parse_ex(tokener, text, (int)text_len);
	json_tokener_free(tokener);
	if (!json_object_is_type(root, json_type_object))
		ret = uvfio_error_set(err, -EPROTO,
				      "the server's capabilities are not JSON: %.200s", text);
	else if (!json_object_object_get_ex(root, VFIO_USER_CAP_CAPABILITIES, &caps))
		ret = 0;
	else if (!json_object_is_type(caps, json_type_object))
		ret = uvfio_error_set(err, -EPROTO, "the server's capabilities are no object");
	else
		ret = capabilities(caps, twin, limits, err);
	json_object_put(root);
	return ret;
}
