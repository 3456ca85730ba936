/* SPDX-License-Identifier: BSD-3-Clause */
/* VERSION: what is proposed, and what is answered. */
#include "wire_util.h"
#include "wire/wire_private.h"

#define ENTRIES 65535u

static int parse_bytes(unsigned major, unsigned minor, const void *text, size_t len,
		       struct wire_version *v)
{
	struct vfio_user_version version = {(uint16_t)major, (uint16_t)minor};
	struct uvfio_error err = {""};
	uint8_t buf[8192];
	int ret;

	memcpy(buf, &version, sizeof(version));
	memcpy(buf + sizeof(version), text, len);
	ret = wire_version_parse(buf, (uint32_t)(sizeof(version) + len), ENTRIES, v, &err);
	assert_true(!ret == !err.msg[0]); /* a refusal says why */
	return ret;
}

static int parse(const char *json, struct wire_version *v)
{
	return parse_bytes(0, 1, json, strlen(json) + 1, v);
}

static void qemu(void **state)
{
	static const char json[] =
		"{\"capabilities\":{\"migration\":{\"pgsize\":4096,\"max_bitmap_size\":268435456},"
		"\"max_msg_fds\":16,\"max_data_xfer_size\":1048576,\"pgsizes\":4096,"
		"\"max_dma_maps\":65535,\"write_multiple\":true}}";
	struct wire_version v;

	assert_int_equal(parse_bytes(0, 0, json, sizeof(json), &v), 0);
	assert_int_equal(v.minor, 0);
	assert_int_equal(v.max_xfer, 1 << 20);
	assert_int_equal(v.rx_fds, 16);
	assert_false(v.twin_socket);
	assert_true(v.reply_len <= sizeof(json));
	assert_string_equal(v.reply,
			    "{\"capabilities\":{\"max_msg_fds\":16,\"max_data_xfer_size\":1048576,"
			    "\"max_dma_maps\":65535,\"pgsizes\":4096,\"write_multiple\":true}}");
}

static void rust_vmm(void **state)
{
	struct wire_version v;

	assert_int_equal(parse("{\"capabilities\":{\"max_msg_fds\":1,"
			       "\"max_data_xfer_size\":1048576}}",
			       &v),
			 0);
	assert_int_equal(v.minor, 1);
	assert_int_equal(v.rx_fds, VFIO_USER_MAX_FDS);
}

/* Who wants to go on with a device is told so only when it does. */
static void goes_on(void **state)
{
	struct wire_version v;

	assert_int_equal(parse("{\"capabilities\":{\"continue\":true,\"pgsizes\":4096}}", &v), 0);
	assert_true(v.continues);
	assert_string_equal(v.reply, "{\"capabilities\":{\"pgsizes\":4096}}");
	assert_string_equal(v.continued,
			    "{\"capabilities\":{\"pgsizes\":4096,\"continued\":true}}");
	assert_int_equal(v.continued_len, strlen(v.continued) + 1);
	assert_int_equal(parse("{\"capabilities\":{\"continue\":false}}", &v), 0);
	assert_false(v.continues);
	assert_int_equal(v.continued_len, 0);
	assert_int_equal(parse("{\"capabilities\":{\"continue\":1}}", &v), EINVAL);
}

static void little_said(void **state)
{
	struct wire_version v;

	assert_int_equal(parse_bytes(0, 7, "", 0, &v), 0);
	assert_int_equal(v.minor, 1);
	assert_int_equal(v.max_xfer, 1 << 20);
	assert_int_equal(v.reply_len, 0);
	assert_int_equal(parse("{}", &v), 0);
	assert_int_equal(v.reply_len, 3);
	assert_string_equal(v.reply, "{}");
	assert_int_equal(parse("{\"capabilities\":{}}", &v), 0);
	assert_string_equal(v.reply, "{\"capabilities\":{}}");
	assert_int_equal(parse("{\"more\":[1,2],\"capabilities\":{\"other\":{\"x\":null}}}", &v),
			 0);
	assert_string_equal(v.reply, "{\"capabilities\":{}}");
}

static void values(void **state)
{
	struct wire_version v;

	assert_int_equal(parse("{\"capabilities\":{\"max_data_xfer_size\":4096,\"max_dma_maps\":10,"
			       "\"pgsizes\":2097153,\"max_msg_fds\":1000,\"write_multiple\":false,"
			       "\"twin_socket\":{\"supported\":true}}}",
			       &v),
			 0);
	assert_int_equal(v.max_xfer, 4096);
	assert_int_equal(v.rx_fds, 253);
	assert_true(v.twin_socket);
	assert_non_null(strstr(v.reply, "\"max_dma_maps\":10"));
	assert_non_null(strstr(v.reply, "\"pgsizes\":2097152"));
	assert_null(strstr(v.reply, "write_multiple"));
	assert_non_null(strstr(v.reply, "\"twin_socket\":{\"supported\":true,\"fd_index\":0}"));
	assert_int_equal(parse("{\"capabilities\":{\"max_data_xfer_size\":18446744073709551615,"
			       "\"max_dma_maps\":1000000}}",
			       &v),
			 0);
	assert_int_equal(v.max_xfer, 1 << 20);
	assert_non_null(strstr(v.reply, "\"max_dma_maps\":65535"));
	/* Without room for an fd there is no second socket. */
	assert_int_equal(parse("{\"capabilities\":{\"max_msg_fds\":0,"
			       "\"twin_socket\":{\"supported\":true}}}",
			       &v),
			 0);
	assert_false(v.twin_socket);
}

static void refused(void **state)
{
	static const char *const bad[] = {
		"",
		"[]",
		"null",
		"{",
		"{}}",
		"{} x",
		"{'capabilities':{}}",
		"{\"capabilities\":1}",
		"{\"capabilities\":{\"max_msg_fds\":\"8\"}}",
		"{\"capabilities\":{\"max_msg_fds\":-1}}",
		"{\"capabilities\":{\"max_msg_fds\":1.5}}",
		"{\"capabilities\":{\"max_data_xfer_size\":0}}",
		"{\"capabilities\":{\"max_data_xfer_size\":7}}",
		"{\"capabilities\":{\"pgsizes\":2048}}",
		"{\"capabilities\":{\"write_multiple\":1}}",
		"{\"capabilities\":{\"migration\":true}}",
		"{\"capabilities\":{\"twin_socket\":{\"supported\":1}}}",
		"{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{}}}}}}}",
		"{\"a\":\"\xff\"}",
	};
	struct wire_version v;

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		if (parse(bad[i], &v) != EINVAL)
			fail_msg("%s", bad[i]);
	}
	assert_int_equal(parse_bytes(1, 0, "{}", 3, &v), EINVAL);
	assert_int_equal(parse_bytes(0, 0, "{}", 2, &v), EINVAL);     /* no zero */
	assert_int_equal(parse_bytes(0, 0, "{}\0{}", 6, &v), EINVAL); /* two */
	assert_int_equal(parse_bytes(0, 0, "{\"a\0b\":1}", 9, &v), EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(qemu),     cmocka_unit_test(goes_on),
		cmocka_unit_test(rust_vmm), cmocka_unit_test(little_said),
		cmocka_unit_test(values),   cmocka_unit_test(refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
