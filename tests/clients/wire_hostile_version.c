// SPDX-License-Identifier: BSD-3-Clause
/* Attacks on the beginning: no VERSION, a second one, and every wrong one. */
#include "wire_attack.h"

#include <sys/socket.h>

static void no_version(const struct victim *v)
{
	static const uint8_t zeros[64];

	for (unsigned command = 0; command < 20; command++) {
		struct wire w;

		if (command == WIRE_VERSION)
			continue;
		NEED(!wire_connect(&w, v->path));
		CHECK(attack_send(&w, command, zeros, 32, NULL, 0) != 0);
		wire_close(&w);
		/* Nor is anything done that wants no reply. */
		NEED(!wire_connect(&w, v->path));
		wire_send(&w, command, WIRE_NO_REPLY, zeros, 32, NULL, 0);
		wire_close(&w);
	}
}

static void second_version(const struct victim *v)
{
	const uint16_t version[2] = {0, 1};
	struct wire w;

	NEED(!attack_open(&w, v->path));
	CHECK(attack_send(&w, WIRE_VERSION, version, sizeof(version), NULL, 0) != 0);
	wire_close(&w);
}

static void without_reply(const struct victim *v)
{
	const uint16_t version[2] = {0, 1};
	struct wire w;

	NEED(!wire_connect(&w, v->path));
	CHECK(!wire_send(&w, WIRE_VERSION, WIRE_NO_REPLY, version, sizeof(version), NULL, 0));
	attack_send(&w, WIRE_GET_INFO, (uint32_t[4]){16}, 16, NULL, 0);
	wire_close(&w);
}

static void short_payload(const struct victim *v)
{
	const uint16_t version[2] = {0, 1};

	for (size_t n = 0; n < 4; n++) {
		struct wire w;

		NEED(!wire_connect(&w, v->path));
		CHECK(attack_send(&w, WIRE_VERSION, version, n, NULL, 0) != 0);
		wire_close(&w);
	}
}

static void other_major(const struct victim *v)
{
	static const uint16_t majors[] = {1, 2, 255, 65535};

	for (size_t i = 0; i < sizeof(majors) / sizeof(majors[0]); i++) {
		const uint16_t version[2] = {majors[i], 0};
		struct wire w;

		NEED(!wire_connect(&w, v->path));
		CHECK(attack_send(&w, WIRE_VERSION, version, sizeof(version), NULL, 0) != 0);
		wire_close(&w);
	}
}

/* The reply's minor number is never above the request's. */
static void every_minor(const struct victim *v)
{
	static const unsigned minors[] = {0, 1, 2, 255, 65535};

	for (size_t i = 0; i < sizeof(minors) / sizeof(minors[0]); i++) {
		struct wire w;

		NEED(!attack_version(&w, v->path, minors[i], NULL));
		CHECK(w.minor <= minors[i]);
		CHECK(attack_answers(&w));
		wire_close(&w);
	}
}

/* @n bytes of JSON; what comes of it is a reply after which all is well, or the end. */
static void json(const struct victim *v, const char *text, size_t n)
{
	uint8_t *payload = calloc(1, 4 + n);
	struct wire w;
	int verdict;

	NEED(payload);
	payload[2] = 1;
	memcpy(payload + 4, text, n);
	for (;;) {
		NEED(!wire_connect(&w, v->path));
		verdict = attack_send(&w, WIRE_VERSION, payload, 4 + n, NULL, 0);
		if (verdict != EBUSY)
			break;
		wire_close(&w); /* the one before us is still there */
	}
	if (!verdict)
		CHECK(attack_answers(&w));
	wire_close(&w);
	free(payload);
}

static void broken_json(const struct victim *v)
{
	static const char *const texts[] = {
		"",
		"{",
		"}",
		"[",
		"null",
		"true",
		"1",
		"\"",
		"{}",
		"[]",
		"{]",
		"{\"capabilities\"",
		"{\"capabilities\":",
		"{\"capabilities\":}",
		"{\"capabilities\":null}",
		"{\"capabilities\":1}",
		"{\"capabilities\":[]}",
		"{\"capabilities\":{}}{}",
		"{\"capabilities\":{},\"capabilities\":{}}",
		"{\"capabilities\":{\"max_msg_fds\":0}}",
		"{\"capabilities\":{\"max_msg_fds\":-1}}",
		"{\"capabilities\":{\"max_msg_fds\":1e300}}",
		"{\"capabilities\":{\"max_msg_fds\":99999999999999999999999}}",
		"{\"capabilities\":{\"max_msg_fds\":\"8\"}}",
		"{\"capabilities\":{\"max_msg_fds\":null}}",
		"{\"capabilities\":{\"max_msg_fds\":[8]}}",
		"{\"capabilities\":{\"max_data_xfer_size\":0}}",
		"{\"capabilities\":{\"max_data_xfer_size\":1}}",
		"{\"capabilities\":{\"max_data_xfer_size\":-1}}",
		"{\"capabilities\":{\"max_data_xfer_size\":18446744073709551615}}",
		"{\"capabilities\":{\"max_data_xfer_size\":18446744073709551616}}",
		"{\"capabilities\":{\"max_dma_maps\":0}}",
		"{\"capabilities\":{\"max_dma_maps\":-5}}",
		"{\"capabilities\":{\"pgsizes\":0}}",
		"{\"capabilities\":{\"pgsizes\":1}}",
		"{\"capabilities\":{\"pgsizes\":4097}}",
		"{\"capabilities\":{\"pgsizes\":2097152}}",
		"{\"capabilities\":{\"migration\":0}}",
		"{\"capabilities\":{\"migration\":{\"pgsize\":0}}}",
		"{\"capabilities\":{\"migration\":{\"pgsize\":\"x\",\"max_bitmap_size\":{}}}}",
		"{\"capabilities\":{\"twin_socket\":1}}",
		"{\"capabilities\":{\"twin_socket\":{\"supported\":\"yes\"}}}",
		"{\"capabilities\":{\"twin_socket\":{\"supported\":false,\"fd_index\":-1}}}",
		"{\"capabilities\":{\"write_multiple\":\"true\"}}",
		"{\"capabilities\":{\"\\u0000\":1}}",
		"{\"capabilities\":{\"\xff\xfe\":\"\xc0\x80\"}}",
		"{\"capabilities\":{\"unknown\":{\"a\":[1,2,{}]}}}",
	};

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		json(v, texts[i], strlen(texts[i]) + 1);
		json(v, texts[i], strlen(texts[i])); /* without its end */
		json(v, texts[i], strlen(texts[i]) ? strlen(texts[i]) - 1 : 0);
	}
}

static void zeros_in_json(const struct victim *v)
{
	static const char text[] = "{\"capabilities\":\0{\"max_msg_fds\":1}}\0\0\0";

	json(v, text, sizeof(text));
	json(v, "\0", 1);
	json(v, "\0{}", 4);
}

static void deep_json(const struct victim *v)
{
	static const size_t depths[] = {10, 100, 1000, 10000, 100000};

	for (size_t i = 0; i < sizeof(depths) / sizeof(depths[0]); i++) {
		char *text = malloc(depths[i] * 5 + 1);

		NEED(text);
		memset(text, '[', depths[i]);
		text[depths[i]] = '\0';
		json(v, text, depths[i] + 1);
		for (size_t k = 0; k < depths[i]; k++)
			memcpy(text + k * 5, "{\"a\":", 5);
		text[depths[i] * 5] = '\0';
		json(v, text, depths[i] * 5 + 1);
		free(text);
	}
}

static void huge_json(const struct victim *v)
{
	const size_t n = 1 << 20;
	char *text = malloc(n);
	long before = attack_memory(v);

	NEED(text);
	memset(text, ' ', n);
	memcpy(text, "{\"capabilities\":{}}", 19);
	text[n - 1] = '\0';
	json(v, text, n);
	memset(text, 'a', n);
	memcpy(text, "{\"", 2);
	memcpy(text + n - 5, "\":1}", 5);
	json(v, text, n);
	memset(text, '9', n - 1);
	json(v, text, n);
	free(text);
	CHECK(attack_memory(v) - before < 64 * 1024);
}

static void twin(const struct victim *v)
{
	struct wire w;
	uint8_t rubbish[256];

	memset(rubbish, 0x5a, sizeof(rubbish));
	if (attack_open_twin(&w, v->path)) {
		CHECK(!"the offer of a twin socket is refused");
		return;
	}
	if (w.twin < 0) {
		wire_close(&w);
		attack_skip("the server makes no twin socket");
		return;
	}
	/* Closed at once; the main channel lives or ends, the server stays. */
	close(w.twin);
	w.twin = -1;
	attack_send(&w, WIRE_GET_INFO, (uint32_t[4]){16}, 16, NULL, 0);
	wire_close(&w);
	NEED(!attack_open_twin(&w, v->path));
	wire_send_bytes(w.twin, rubbish, sizeof(rubbish), NULL, 0);
	attack_send(&w, WIRE_GET_INFO, (uint32_t[4]){16}, 16, NULL, 0);
	wire_close(&w);
	/* Commands do not belong there. */
	NEED(!attack_open_twin(&w, v->path));
	wire_send_bytes(w.twin, &(struct wire_header){.id = 1, .command = WIRE_RESET, .size = 16},
			16, NULL, 0);
	attack_send(&w, WIRE_GET_INFO, (uint32_t[4]){16}, 16, NULL, 0);
	wire_close(&w);
	/* Its main channel ends first. */
	NEED(!attack_open_twin(&w, v->path));
	close(w.fd);
	w.fd = w.twin;
	w.twin = -1;
	CHECK(!wire_until_end(&w));
	wire_close(&w);
}

const struct attack attacks_version[] = {
	{"no VERSION first", no_version},
	{"VERSION twice", second_version},
	{"VERSION without a reply", without_reply},
	{"VERSION: too short", short_payload},
	{"VERSION: other major numbers", other_major},
	{"VERSION: any minor number", every_minor},
	{"VERSION: wrong JSON", broken_json},
	{"VERSION: zeros in the JSON", zeros_in_json},
	{"VERSION: deep JSON", deep_json},
	{"VERSION: huge JSON", huge_json},
	{"a twin socket abused", twin},
	{0},
};
