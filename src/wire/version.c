/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * VERSION: what the client proposes, in JSON, and what it gets.
 *
 * The answer holds only what the client named, with values that are no greater, because clients
 * read it into the buffer of their request (QEMU) or refuse what they did not propose.
 */
#include <errno.h>
#include <json.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "vfio/keep.h"
#include "wire/wire_private.h"

#define MAX_DEPTH 6
#define MIN_FDS   16u /* we take more than a client that says little can send */
#define MIN_XFER  8u  /* bytes; a register */

struct number {
	const char *name;
	bool given;
	uint64_t value;
};

enum { MSG_FDS, XFER_SIZE, DMA_MAPS, PGSIZES, NUMBERS };

/* A non-negative integer under @number->name of @obj. */
static int get_number(struct json_object *obj, struct number *number, struct uvfio_error *err)
{
	struct json_object *value;
	int64_t v;

	number->given = json_object_object_get_ex(obj, number->name, &value);
	if (!number->given)
		return 0;
	v = json_object_is_type(value, json_type_int) ? json_object_get_int64(value) : -1;
	if (v < 0)
		return -uvfio_error_set(err, -EINVAL, "\"%s\" is not a number from 0 on",
					number->name);
	number->value =
		json_object_is_type(value, json_type_int) ? json_object_get_uint64(value) : 0;
	return 0;
}

/* A boolean; absent is false. */
static int get_bool(struct json_object *obj, const char *name, bool *out, struct uvfio_error *err)
{
	struct json_object *value;

	*out = false;
	if (!json_object_object_get_ex(obj, name, &value))
		return 0;
	if (!json_object_is_type(value, json_type_boolean))
		return -uvfio_error_set(err, -EINVAL, "\"%s\" is not true or false", name);
	*out = json_object_get_boolean(value);
	return 0;
}

static int get_object(struct json_object *obj, const char *name, struct json_object **out,
		      struct uvfio_error *err)
{
	*out = NULL;
	if (!json_object_object_get_ex(obj, name, out))
		return 0;
	if (!json_object_is_type(*out, json_type_object))
		return -uvfio_error_set(err, -EINVAL, "\"%s\" is not an object", name);
	return 0;
}

/* The library takes names in single quotes, which JSON has not. */
static bool single_quoted(const char *text)
{
	bool inside = false;

	for (; *text; text++) {
		if (*text == '"')
			inside = !inside;
		else if (inside && *text == '\\' && text[1])
			text++;
		else if (!inside && *text == '\'')
			return true;
	}
	return false;
}

static struct json_object *parse(const char *text, size_t len, struct uvfio_error *err)
{
	struct json_tokener *tokener = json_tokener_new_ex(MAX_DEPTH);
	struct json_object *root;

	if (!tokener) {
		uvfio_error_set(err, -ENOMEM, "out of memory");
		return NULL;
	}
	json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
	/* With its zero, so that a number at the end ends. */
	root = json_tokener_parse_ex(tokener, text, (int)len);
	if (json_tokener_get_error(tokener) != json_tokener_success || !root ||
	    single_quoted(text) || !json_object_is_type(root, json_type_object)) {
		uvfio_error_set(err, -EINVAL, "the version data is not a JSON object: %s",
				json_tokener_error_desc(json_tokener_get_error(tokener)));
		json_object_put(root);
		root = NULL;
	}
	json_tokener_free(tokener);
	return root;
}

static uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* The text of @reply with its zero: 0, or ENOMEM with a message. */
static int put_reply(struct json_object *reply, char out[512], size_t *len, struct uvfio_error *err)
{
	const char *text = json_object_to_json_string_ext(reply, JSON_C_TO_STRING_PLAIN);

	*len = text ? strlen(text) + 1 : 0;
	if (!text || *len > 512)
		return -uvfio_error_set(err, -ENOMEM, "out of memory");
	memcpy(out, text, *len);
	return 0;
}

static int negotiate(struct json_object *caps, uint64_t dma_entries, struct wire_version *out,
		     struct uvfio_error *err)
{
	struct number n[NUMBERS] = {
		[MSG_FDS] = {VFIO_USER_CAP_MAX_MSG_FDS, false, VFIO_USER_DEFAULT_MSG_FDS},
		[XFER_SIZE] = {VFIO_USER_CAP_MAX_XFER_SIZE, false, VFIO_USER_DEFAULT_XFER_SIZE},
		[DMA_MAPS] = {VFIO_USER_CAP_MAX_DMA_MAPS, false, VFIO_USER_DEFAULT_DMA_MAPS},
		[PGSIZES] = {VFIO_USER_CAP_PGSIZES, false, VFIO_USER_DEFAULT_PGSIZES},
	};
	struct json_object *twin, *migration, *reply, *mine;
	bool multi, twin_supported = false;
	int ret = 0;

	for (unsigned i = 0; i < NUMBERS && !ret; i++)
		ret = get_number(caps, &n[i], err);
	if (!ret)
		ret = get_bool(caps, VFIO_USER_CAP_WRITE_MULTIPLE, &multi, err);
	if (!ret)
		ret = get_bool(caps, VFIO_USER_CAP_CONTINUE, &out->continues, err);
	if (!ret)
		ret = get_object(caps, VFIO_USER_CAP_MIGRATION, &migration, err);
	if (!ret)
		ret = get_object(caps, VFIO_USER_CAP_TWIN_SOCKET, &twin, err);
	if (!ret && twin)
		ret = get_bool(twin, VFIO_USER_CAP_TWIN_SUPPORTED, &twin_supported, err);
	if (ret)
		return ret;
	if (n[XFER_SIZE].value < MIN_XFER)
		return -uvfio_error_set(err, -EINVAL,
					"\"" VFIO_USER_CAP_MAX_XFER_SIZE "\" is %llu: nothing fits",
					(unsigned long long)n[XFER_SIZE].value);
	n[PGSIZES].value &= ~(IOMMU_PAGE_SIZE - 1);
	if (!n[PGSIZES].value)
		return -uvfio_error_set(err, -EINVAL,
					"\"" VFIO_USER_CAP_PGSIZES "\" has no size from 4096 on");
	out->max_fds = (uint32_t)least(n[MSG_FDS].value, VFIO_USER_MAX_FDS);
	out->max_xfer = (uint32_t)least(n[XFER_SIZE].value, WIRE_XFER_MAX);
	/* A client without room for an fd in a reply cannot take the second socket. */
	out->twin_socket = twin_supported && out->max_fds;

	reply = json_object_new_object();
	mine = json_object_new_object();
	/* How many we take.  A client that takes none or one may well send more (rust-vmm's does).
	 */
	if (n[MSG_FDS].given) {
		out->rx_fds = n[MSG_FDS].value > 1 ? out->max_fds : VFIO_USER_MAX_FDS;
		json_object_object_add(mine, n[MSG_FDS].name, json_object_new_int64(out->rx_fds));
	}
	if (n[XFER_SIZE].given)
		json_object_object_add(mine, n[XFER_SIZE].name,
				       json_object_new_int64(out->max_xfer));
	if (n[DMA_MAPS].given)
		json_object_object_add(
			mine, n[DMA_MAPS].name,
			json_object_new_int64((int64_t)least(n[DMA_MAPS].value, dma_entries)));
	if (n[PGSIZES].given)
		json_object_object_add(mine, n[PGSIZES].name,
				       json_object_new_uint64(n[PGSIZES].value));
	if (multi)
		json_object_object_add(mine, VFIO_USER_CAP_WRITE_MULTIPLE,
				       json_object_new_boolean(true));
	if (out->twin_socket) {
		struct json_object *t = json_object_new_object();

		json_object_object_add(t, VFIO_USER_CAP_TWIN_SUPPORTED,
				       json_object_new_boolean(true));
		json_object_object_add(t, VFIO_USER_CAP_TWIN_FD_INDEX, json_object_new_int(0));
		json_object_object_add(mine, VFIO_USER_CAP_TWIN_SOCKET, t);
	}
	json_object_object_add(reply, VFIO_USER_CAP_CAPABILITIES, mine);
	ret = put_reply(reply, out->reply, &out->reply_len, err);
	if (!ret && out->continues) {
		json_object_object_add(mine, VFIO_USER_CAP_CONTINUED,
				       json_object_new_boolean(true));
		ret = put_reply(reply, out->continued, &out->continued_len, err);
	}
	json_object_put(reply);
	return ret;
}

int wire_version_parse(const uint8_t *payload, uint32_t len, uint64_t dma_entries,
		       struct wire_version *out, struct uvfio_error *err)
{
	const char *text = (const char *)payload + sizeof(struct vfio_user_version);
	struct json_object *root, *caps;
	struct vfio_user_version version;
	size_t text_len;
	int ret;

	memset(out, 0, sizeof(*out));
	out->max_fds = VFIO_USER_DEFAULT_MSG_FDS;
	out->max_xfer = VFIO_USER_DEFAULT_XFER_SIZE;
	out->rx_fds = VFIO_USER_MAX_FDS;
	if (len < sizeof(version))
		return -uvfio_error_set(err, -EINVAL, "VERSION has %u bytes", len);
	memcpy(&version, payload, sizeof(version));
	if (version.major != VFIO_USER_MAJOR)
		return -uvfio_error_set(err, -EINVAL, "it speaks version %u.%u, and we speak %u.%u",
					version.major, version.minor, VFIO_USER_MAJOR,
					VFIO_USER_MINOR);
	out->minor = version.minor < VFIO_USER_MINOR ? version.minor : VFIO_USER_MINOR;
	text_len = len - sizeof(version);
	if (!text_len)
		return 0;
	if (memchr(text, 0, text_len) != text + text_len - 1)
		return -uvfio_error_set(err, -EINVAL,
					"the version data is not one string that ends with a zero");
	root = parse(text, text_len, err);
	if (!root)
		return EINVAL;
	ret = get_object(root, VFIO_USER_CAP_CAPABILITIES, &caps, err);
	if (!ret && caps) {
		ret = negotiate(caps, dma_entries, out, err);
	} else if (!ret) {
		/* Who sends an object gets one: the first clients of cloud-hypervisor had the
		 * numbers outside "capabilities", and could not take an answer without any text. */
		memcpy(out->reply, "{}", 3);
		out->reply_len = 3;
	}
	json_object_put(root);
	return ret;
}

/* ---- the command ---- */

/* The second socket: ours is in place, the client's is returned.  < 0: there is none. */
static int make_twin(struct wire_conn *conn)
{
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair))
		return -1;
	pthread_mutex_lock(&conn->server->lock); /* as below */
	conn->twin_socket = true;
	pthread_mutex_unlock(&conn->server->lock);
	if (wire_stream_init(&conn->twin, pair[0], WIRE_MSG_MAX, conn->trash, &conn->bytes_in,
			     &conn->bytes_out)) {
		close(pair[1]);
		return -1;
	}
	return pair[1];
}

void wire_do_version(struct wire_conn *conn, struct wire_msg *msg)
{
	const struct wire_version *v = conn->version;
	struct vfio_user_version reply = {.major = VFIO_USER_MAJOR, .minor = v->minor};
	int error = conn->error, fd = -1;

	if (!error) {
		conn->peer = wire_peer_new(conn, v->max_xfer);
		if (!conn->peer)
			error = ENOMEM;
	}
	if (!error && v->twin_socket) {
		fd = make_twin(conn);
		if (fd < 0)
			error = ENFILE;
	}
	if (error) {
		if (error == EACCES)
			wire_conn_complain(conn,
					   "refused (EACCES): this socket does not present the "
					   "VF token that the device needs (vf_token=)");
		else
			wire_conn_complain(conn, "refused: the device cannot be opened: %s",
					   strerror(error));
		wire_reply_error(conn, msg, error);
		conn->half_closed = true;
		return;
	}
	/* wire_connections() tells these. */
	pthread_mutex_lock(&conn->server->lock);
	conn->minor = v->minor;
	conn->max_xfer = v->max_xfer;
	pthread_mutex_unlock(&conn->server->lock);
	conn->rx_fds = v->rx_fds;
	conn->stream.max = WIRE_MSG_MAX;
	if (vfio_device_file_continued(conn->df))
		wire_reply(conn, msg, &reply, sizeof(reply), v->continued, v->continued_len, &fd,
			   fd >= 0 ? 1 : 0);
	else
		wire_reply(conn, msg, &reply, sizeof(reply), v->reply, v->reply_len, &fd,
			   fd >= 0 ? 1 : 0);
}
