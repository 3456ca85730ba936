// SPDX-License-Identifier: BSD-3-Clause
/* C: how a token is given: the string of GET_DEVICE_FD, BIND, feature 0. */
#include "d3.h"
#include "sriov.h"

/* ---- the string ------------------------------------------------------------------------------ */

struct text {
	const char *rest; /* behind the PF's name */
	int want;
};

static void text_of_pf(struct t *t)
{
	const struct text *text = t->rule->arg;
	struct sriov s;
	long dev;

	sriov_ready(t, &s, PF_VFIO, 0);
	dev = fn_open_string(t, &s.pf, text->rest);
	see(t, "rc", dev < 0 ? dev : 0, text->want);
}

#define TEXT(n, ...)                                                                               \
	{                                                                                          \
		"C.2/string/" n, OPEN_NOTHING, NEED_IOMMU, text_of_pf, &(const struct text)        \
		{                                                                                  \
			__VA_ARGS__                                                                \
		}                                                                                  \
	}

static void long_strings(struct t *t)
{
	struct sriov s;
	char *text = new_pages(t, 3);
	int group;

	sriov_ready(t, &s, PF_VFIO, 0);
	group = fn_group(t, &s.pf);
	memset(text, ' ', 2 * PAGE);
	memcpy(text, s.pf.bdf, strlen(s.pf.bdf));
	text[PAGE - 1] = '\0';
	see(t, "a-page", get_device(group, text) >= 0, 1);
	text[PAGE - 1] = ' ';
	text[PAGE] = '\0';
	see(t, "more", get_device(group, text), -EINVAL);
	memcpy(text, "nothing", 7);
	see(t, "more-other-name", get_device(group, text), -EINVAL);
	see(t, "null", get_device(group, NULL), -EFAULT);
	munmap(text + PAGE, PAGE);
	memcpy(text + PAGE - strlen(s.pf.bdf), s.pf.bdf, strlen(s.pf.bdf));
	see(t, "no-end", get_device(group, text + PAGE - strlen(s.pf.bdf)), -EFAULT);
}

/* Name, then options, then what the token is. */
static void string_order(struct t *t)
{
	struct sriov s;
	int group;

	sriov_ready(t, &s, PF_VFIO, 1);
	group = fn_group(t, &s.vf[0]);
	see(t, "name-and-option", get_device(group, "0000:ff:1f.7 nonsense"), -ENODEV);
	see(t, "option-and-token", fn_open_string(t, &s.vf[0], " vf_token=" TOKEN_B " nonsense"),
	    -EINVAL);
	see(t, "malformed", fn_open_string(t, &s.vf[0], " vf_token=nothing"), -EINVAL);
	see(t, "token", fn_open_string(t, &s.vf[0], " vf_token=" TOKEN_B), -EACCES);
}

/* The options are looked at before it is known whether the device can be opened at all. */
static void string_before_container(struct t *t)
{
	char name[128];
	struct sriov s;
	struct facts f;
	int group;

	sriov_ready(t, &s, PF_VFIO, 1);
	f = (struct facts){.group = s.pf.group};
	group = open_group(&f);
	must(t, "open-group", sys(group));
	snprintf(name, sizeof(name), "%s nonsense", s.pf.bdf);
	see(t, "option", get_device(group, name), -EINVAL);
	snprintf(name, sizeof(name), "%s vf_token=" TOKEN_A, s.pf.bdf);
	see(t, "no-container", get_device(group, name), -EINVAL);
	close(group);
	see(t, "vf-with-it", fn_try(t, BY_GROUP, &s.vf[0], TOKEN_A), 0);
}

static void string_of_vf_before_container(struct t *t)
{
	char name[128];
	struct sriov s;
	struct facts f;
	int group;

	sriov_ready(t, &s, PF_VFIO, 1);
	f = (struct facts){.group = s.vf[0].group};
	group = open_group(&f);
	must(t, "open-group", sys(group));
	see(t, "none", get_device(group, s.vf[0].bdf), -EACCES);
	snprintf(name, sizeof(name), "%s vf_token=" TOKEN_A, s.vf[0].bdf);
	see(t, "wrong", get_device(group, name), -EACCES);
}

/* ---- BIND ------------------------------------------------------------------------------------ */

static long bind_with(int node, uint32_t argsz, uint32_t flags, int iommufd, const void *token)
{
	struct {
		struct vfio_cdev_bind bind;
		uint32_t more[2];
	} arg = {.bind = {argsz, flags, iommufd, 0, (uintptr_t)token}};

	return call(node, VFIO_CDEV_BIND, &arg);
}

static int node_of(struct t *t, const struct fn *fn)
{
	struct facts f = {0};

	snprintf(f.bdf, sizeof(f.bdf), "%s", fn->bdf);
	return open_node(t, &f);
}

static void bind_frame(struct t *t)
{
	uint8_t token[16];
	struct sriov s;
	int node;

	sriov_ready(t, &s, PF_VFIO, 1);
	must(t, "choose-token", fn_try(t, BY_NODE, &s.pf, TOKEN_A));
	token_bytes(TOKEN_A, token);
	node = node_of(t, &s.vf[0]);
	see(t, "flag-unknown", bind_with(node, 24, 3, t->container, token), -EINVAL);
	see(t, "no-pointer", bind_with(node, 16, 1, t->container, token), -EFAULT);
	see(t, "half-pointer", bind_with(node, 20, 1, t->container, NULL), -EFAULT);
	see(t, "null", bind_with(node, 24, 1, t->container, NULL), -EFAULT);
	see(t, "negative-and-null", bind_with(node, 24, 1, -1, NULL), -EINVAL);
	see(t, "pointer-without-flag", bind_with(node, 24, 0, t->container, token), -EACCES);
	see(t, "longer", bind_with(node, 32, 1, t->container, token), 0);
	see(t, "again", bind_with(node, 24, 1, t->container, token), -EINVAL);
	see(t, "again-wrong", bind_with(node, 24, 0, t->container, NULL), -EINVAL);
	close(node);
	node = node_of(t, &s.vf[0]);
	see(t, "bytes-at-end",
	    bind_with(node, 24, 1, t->container, memcpy(at_page_end(t, 16), token, 16)), 0);
	close(node);
	node = node_of(t, &s.vf[0]);
	see(t, "bytes-cut-off",
	    bind_with(node, 24, 1, t->container, memcpy(at_page_end(t, 15), token, 15)), -EFAULT);
}

/* The token is looked at before the iommufd is. */
static void bind_order(struct t *t)
{
	uint8_t right[16], wrong[16];
	struct sriov s;
	int node;

	sriov_ready(t, &s, PF_VFIO, 1);
	must(t, "choose-token", fn_try(t, BY_NODE, &s.pf, TOKEN_A));
	token_bytes(TOKEN_A, right);
	token_bytes(TOKEN_B, wrong);
	node = node_of(t, &s.vf[0]);
	see(t, "none", bind_with(node, 24, 0, 999, NULL), -EACCES);
	see(t, "wrong", bind_with(node, 24, 1, 999, wrong), -EACCES);
	see(t, "right", bind_with(node, 24, 1, 999, right), -EBADF);
	see(t, "other-file", bind_with(node, 24, 1, node, right), -EBADFD);
	see(t, "good", bind_with(node, 24, 1, t->container, right), 0);
}

/* What a PF is given is its token, though the call fails later. */
static void bind_stores(struct t *t)
{
	uint8_t token[16];
	struct sriov s;
	int node;

	sriov_ready(t, &s, PF_VFIO, 1);
	token_bytes(TOKEN_A, token);
	node = node_of(t, &s.pf);
	see(t, "pf", bind_with(node, 24, 1, 999, token), -EBADF);
	close(node);
	see(t, "vf-with-it", fn_try(t, BY_NODE, &s.vf[0], TOKEN_A), 0);
}

/* What is open by the group is busy before its token is looked at. */
static void bind_busy(struct t *t)
{
	struct sriov s;
	struct facts f;
	int group, node;

	sriov_ready(t, &s, PF_VFIO, 1);
	t->container = open_iommu(t);
	f = (struct facts){.group = s.vf[0].group};
	group = open_group(&f);
	must(t, "open-group", sys(group));
	node = node_of(t, &s.vf[0]);
	see(t, "group-open", bind_with(node, 24, 0, t->container, NULL), -EBUSY);
	close(group);
	see(t, "group-closed", bind_with(node, 24, 0, t->container, NULL), -EACCES);
}

/* A token is one, whichever way it came and is asked for. */
static void ways_agree(struct t *t)
{
	struct sriov s;
	long pf;

	sriov_ready(t, &s, PF_VFIO, 2);
	must(t, "by-string", fn_try(t, BY_GROUP, &s.pf, TOKEN_A));
	see(t, "bind", fn_try(t, BY_NODE, &s.vf[0], TOKEN_A), 0);
	must(t, "by-bind", fn_try(t, BY_NODE, &s.pf, TOKEN_B));
	see(t, "string", fn_try(t, BY_GROUP, &s.vf[0], TOKEN_B), 0);
	pf = fn_open(t, BY_NODE, &s.pf, NULL);
	must(t, "pf", pf);
	see(t, "feature", set_token((int)pf, TOKEN_A), 0);
	fn_close(&s.pf, (int)pf);
	see(t, "string", fn_try(t, BY_GROUP, &s.vf[0], TOKEN_A), 0);
	see(t, "bind", fn_try(t, BY_NODE, &s.vf[0], TOKEN_A), 0);
}

/* ---- feature 0 ------------------------------------------------------------------------------- */

static enum way way_of(const struct t *t)
{
	return *(const enum way *)t->rule->arg;
}

static void feature(struct t *t)
{
	struct vfio_device_feature probe = {.argsz = 8, .flags = VFIO_DEVICE_FEATURE_PROBE};
	const enum way way = way_of(t);
	struct {
		uint32_t argsz, flags;
		uint8_t token[16];
	} get = {.argsz = sizeof(get), .flags = VFIO_DEVICE_FEATURE_GET};
	struct sriov s;
	long pf;

	sriov_ready(t, &s, PF_VFIO, 1);
	pf = fn_open(t, way, &s.pf, TOKEN_A);
	must(t, "pf", pf);
	see(t, "probe", call((int)pf, VFIO_DEVICE_FEATURE, &probe), 0);
	probe.flags |= VFIO_DEVICE_FEATURE_SET;
	see(t, "probe-set", call((int)pf, VFIO_DEVICE_FEATURE, &probe), 0);
	see(t, "get", call((int)pf, VFIO_DEVICE_FEATURE, &get), -EINVAL);
	probe.flags = VFIO_DEVICE_FEATURE_SET;
	see(t, "short", call((int)pf, VFIO_DEVICE_FEATURE, &probe), -EINVAL);
	see(t, "vf-same", fn_try(t, way, &s.vf[0], TOKEN_A), 0);
	see(t, "set", set_token((int)pf, TOKEN_B), 0);
	see(t, "vf-old", fn_try(t, way, &s.vf[0], TOKEN_A), -EACCES);
	see(t, "vf-new", fn_try(t, way, &s.vf[0], TOKEN_B), 0);
	see(t, "set-again", set_token((int)pf, TOKEN_A), 0);
	fn_close(&s.pf, (int)pf);
	see(t, "vf-after-close", fn_try(t, way, &s.vf[0], TOKEN_A), 0);
}

/* It does not ask whether VFs are in use; those that are open stay so. */
static void feature_in_use(struct t *t)
{
	struct vfio_device_info info = {.argsz = sizeof(info)};
	const enum way way = way_of(t);
	struct sriov s;
	long pf, vf;

	sriov_ready(t, &s, PF_VFIO, 2);
	pf = fn_open(t, way, &s.pf, TOKEN_A);
	must(t, "pf", pf);
	vf = fn_open(t, way, &s.vf[0], TOKEN_A);
	must(t, "vf", vf);
	see(t, "set", set_token((int)pf, TOKEN_B), 0);
	see(t, "vf-works", call((int)vf, VFIO_DEVICE_GET_INFO, &info), 0);
	see(t, "other-old", fn_try(t, way, &s.vf[1], TOKEN_A), -EACCES);
	see(t, "other-new", fn_try(t, way, &s.vf[1], TOKEN_B), 0);
	fn_close(&s.pf, (int)pf);
	see(t, "pf-old", fn_try(t, way, &s.pf, TOKEN_A), -EACCES);
	see(t, "pf-new", fn_try(t, way, &s.pf, TOKEN_B), 0);
	see(t, "vf-works", call((int)vf, VFIO_DEVICE_GET_INFO, &info), 0);
	fn_close(&s.vf[0], (int)vf);
	see(t, "vf-old", fn_try(t, way, &s.vf[0], TOKEN_A), -EACCES);
	see(t, "vf-new", fn_try(t, way, &s.vf[0], TOKEN_B), 0);
}

/* A VF has no token of its own. */
static void feature_of_vf(struct t *t)
{
	struct vfio_device_feature probe = {.argsz = 8, .flags = VFIO_DEVICE_FEATURE_PROBE};
	const enum way way = way_of(t);
	struct sriov s;
	long vf;

	sriov_ready(t, &s, PF_VFIO, 1);
	must(t, "choose-token", fn_try(t, way, &s.pf, TOKEN_A));
	vf = fn_open(t, way, &s.vf[0], TOKEN_A);
	must(t, "vf", vf);
	see(t, "set", set_token((int)vf, TOKEN_B), -ENOTTY);
	see(t, "probe", call((int)vf, VFIO_DEVICE_FEATURE, &probe), -ENOTTY);
	probe.flags = VFIO_DEVICE_FEATURE_SET;
	see(t, "short", call((int)vf, VFIO_DEVICE_FEATURE, &probe), -ENOTTY);
	probe.flags = VFIO_DEVICE_FEATURE_GET;
	see(t, "get", call((int)vf, VFIO_DEVICE_FEATURE, &probe), -ENOTTY);
	probe.argsz = 7;
	see(t, "header", call((int)vf, VFIO_DEVICE_FEATURE, &probe), -EINVAL);
}

static const enum way by_group = BY_GROUP, by_node = BY_NODE;

static const struct rule ways[] = {
	TEXT("name-alone", "", 0),
	TEXT("name-and-space", " ", 0),
	TEXT("name-and-spaces", "    ", 0),
	TEXT("token", " vf_token=" TOKEN_A, 0),
	TEXT("spaces-around", "   vf_token=" TOKEN_A "  ", 0),
	TEXT("upper-case", " vf_token=C0FFEE00-1234-4ABC-8DEF-0123456789AB", 0),
	TEXT("name-goes-on", "0", -ENODEV),
	TEXT("name-and-tab", "\tvf_token=" TOKEN_A, -ENODEV),
	TEXT("name-and-comma", ",vf_token=" TOKEN_A, -ENODEV),
	TEXT("option-unknown", " nonsense", -EINVAL),
	TEXT("option-unknown-with-value", " token=" TOKEN_A, -EINVAL),
	TEXT("option-other-case", " VF_TOKEN=" TOKEN_A, -EINVAL),
	TEXT("option-without-value", " vf_token", -EINVAL),
	TEXT("option-and-tab", " \tvf_token=" TOKEN_A, -EINVAL),
	TEXT("two-options", " vf_token=" TOKEN_A " nonsense", -EINVAL),
	TEXT("two-options-other-order", " nonsense vf_token=" TOKEN_A, -EINVAL),
	TEXT("token-twice", " vf_token=" TOKEN_A " vf_token=" TOKEN_A, -EINVAL),
	TEXT("token-twice-without-space", " vf_token=" TOKEN_A "vf_token=" TOKEN_A, -EINVAL),
	TEXT("value-empty", " vf_token=", -EINVAL),
	TEXT("value-short", " vf_token=2f6a1cbe-0d53-4a41-9e0b-71c8d2a94f1", -EINVAL),
	TEXT("value-long", " vf_token=" TOKEN_A "0", -EINVAL),
	TEXT("value-without-dashes", " vf_token=2f6a1cbe0d534a419e0b71c8d2a94f10", -EINVAL),
	TEXT("value-dashes-elsewhere", " vf_token=2f6a1cbe0-d53-4a41-9e0b-71c8d2a94f10", -EINVAL),
	TEXT("value-not-hex", " vf_token=2f6a1cbe-0d53-4a41-9e0b-71c8d2a94f1g", -EINVAL),
	TEXT("value-in-braces", " vf_token={" TOKEN_A "}", -EINVAL),
	TEXT("value-with-space", " vf_token= " TOKEN_A, -EINVAL),
	{"C.2/string/long", OPEN_NOTHING, NEED_IOMMU, long_strings},
	{"C.2/string/order", OPEN_NOTHING, NEED_IOMMU, string_order},
	{"C.2/string/stored-though-open-fails", OPEN_NOTHING, NEED_IOMMU, string_before_container},
	{"C.2/string/token-before-container", OPEN_NOTHING, NEED_IOMMU,
	 string_of_vf_before_container},
	{"C.2/bind/frame", OPEN_NOTHING, NEED_IOMMUFD, bind_frame},
	{"C.2/bind/order", OPEN_NOTHING, NEED_IOMMUFD, bind_order},
	{"C.2/bind/stored-though-bind-fails", OPEN_NOTHING, NEED_IOMMUFD, bind_stores},
	{"C.2/bind/group-in-use", OPEN_NOTHING, NEED_IOMMUFD, bind_busy},
	{"C.2/ways-agree", OPEN_NOTHING, NEED_IOMMUFD, ways_agree},
	{"C.2/feature/set", OPEN_NOTHING, NEED_IOMMU, feature, &by_group},
	{"C.2/feature/set-by-node", OPEN_NOTHING, NEED_IOMMUFD, feature, &by_node},
	{"C.2/feature/in-use", OPEN_NOTHING, NEED_IOMMU, feature_in_use, &by_group},
	{"C.2/feature/in-use-by-node", OPEN_NOTHING, NEED_IOMMUFD, feature_in_use, &by_node},
	{"C.2/feature/vf", OPEN_NOTHING, NEED_IOMMU, feature_of_vf, &by_group},
	{"C.2/feature/vf-by-node", OPEN_NOTHING, NEED_IOMMUFD, feature_of_vf, &by_node},
};
const struct section section_c2 = SECTION("C.2", ways);
