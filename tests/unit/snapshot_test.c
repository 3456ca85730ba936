/* SPDX-License-Identifier: BSD-3-Clause */
/* Snapshots of the tree in /sys: what is in them, and what is not taken for one. */
#include "sysfs/snapshot.h"
#include "vfio_fixture.h"

#define NAME "0000:01:00.0"

static void open_machine(struct fixture *f)
{
	fixture_machine(f);
	fixture_add(f, "probe");
}

/* The item at @path; false: there is none. */
static bool find(const uint8_t *data, size_t len, const char *path, struct sysfs_item *item)
{
	size_t off = 0;
	int ret;

	while ((ret = sysfs_snapshot_next(data, len, &off, item)) == 1)
		if (!strcmp(item->path, path))
			return true;
	assert_int_equal(ret, 0);
	return false;
}

static void expect(const uint8_t *data, size_t len, const char *path, enum sysfs_item_kind kind,
		   mode_t mode, const char *text)
{
	struct sysfs_item item;

	if (!find(data, len, path, &item))
		fail_msg("%s is missing", path);
	assert_int_equal(item.kind, kind);
	assert_int_equal(item.mode, mode);
	assert_string_equal(item.data, text);
	assert_int_equal(item.len, strlen(text));
}

static void test_contents(void **state)
{
	static const char *const missing[] = {"reset", "remove", "resource0",
					      "power/runtime_status"};
	const char *base = "bus/pci/devices/" NAME;
	struct sysfs_item item;
	struct fixture f;
	uint8_t *data;
	size_t len;
	char path[80];

	open_machine(&f);
	assert_int_equal(sysfs_snapshot(f.machine, &data, &len), 0);
	expect(data, len, "bus/pci/devices/" NAME, SYSFS_ITEM_DIR, 0755, "");
	expect(data, len, "bus/pci/devices/" NAME "/vendor", SYSFS_ITEM_FILE, 0444, "0x1b36\n");
	expect(data, len, "bus/pci/devices/" NAME "/driver_override", SYSFS_ITEM_FILE, 0444,
	       "vfio-pci\n");
	expect(data, len, "bus/pci/devices/" NAME "/driver", SYSFS_ITEM_LINK, 0777,
	       "../../../../bus/pci/drivers/vfio-pci");
	expect(data, len, "bus/pci/devices/" NAME "/vfio-dev/vfio0/device", SYSFS_ITEM_LINK, 0777,
	       "../../../" NAME);
	expect(data, len, "kernel/iommu_groups/1/devices/" NAME, SYSFS_ITEM_LINK, 0777,
	       "../../../../bus/pci/devices/" NAME);
	expect(data, len, "bus/pci/drivers/vfio-pci/" NAME, SYSFS_ITEM_LINK, 0777,
	       "../../../../bus/pci/devices/" NAME);
	expect(data, len, "module/vfio_pci/initstate", SYSFS_ITEM_FILE, 0444, "live\n");
	assert_true(find(data, len, "bus/pci/devices/" NAME "/config", &item));
	assert_int_equal(item.mode, 0644);
	assert_true(item.len == 256 || item.len == 4096);
	assert_int_equal((uint8_t)item.data[0] | (uint8_t)item.data[1] << 8, 0x1b36);
	for (unsigned i = 0; i < sizeof(missing) / sizeof(*missing); i++) {
		snprintf(path, sizeof(path), "%s/%s", base, missing[i]);
		assert_false(find(data, len, path, &item));
	}
	assert_false(find(data, len, "devices", &item));
	free(data);
	fixture_close(&f);
}

/* Each directory comes before what is in it, and nothing twice. */
static void test_order(void **state)
{
	static char seen[512][SYSFS_ITEM_PATH];
	struct sysfs_item item;
	struct fixture f;
	size_t len, off = 0;
	unsigned nr = 0;
	uint8_t *data;

	open_machine(&f);
	fixture_add(&f, "probe");
	assert_int_equal(sysfs_snapshot(f.machine, &data, &len), 0);
	while (sysfs_snapshot_next(data, len, &off, &item) == 1) {
		const char *slash = strrchr(item.path, '/');
		bool parent = !slash;

		for (unsigned i = 0; i < nr; i++) {
			assert_string_not_equal(seen[i], item.path);
			parent |= slash && strlen(seen[i]) == (size_t)(slash - item.path) &&
				  !strncmp(seen[i], item.path, (size_t)(slash - item.path));
		}
		assert_true(parent);
		assert_true(nr < 512);
		strcpy(seen[nr++], item.path);
	}
	assert_int_equal(off, len);
	assert_true(nr > 100);
	free(data);
	fixture_close(&f);
}

struct raw {
	uint16_t kind, mode, path_len, data_len;
	char bytes[32]; /* path, 0, data, 0 */
};

/* What sysfs_snapshot_next() says of it, in memory that ends where it does. */
static int judge(const struct raw *raw, size_t len)
{
	struct sysfs_item item;
	uint8_t *copy = malloc(len ? len : 1);
	size_t off = 0;
	int ret;

	memcpy(copy, raw, len);
	ret = sysfs_snapshot_next(copy, len, &off, &item);
	assert_int_equal(off, ret == 1 ? len : 0);
	free(copy);
	return ret;
}

static int judge_path(const char *path)
{
	struct raw raw = {.mode = 0755, .path_len = (uint16_t)strlen(path)};

	strcpy(raw.bytes, path);
	return judge(&raw, 8 + strlen(path) + 2);
}

static void test_malformed(void **state)
{
	static const char *const bad[] = {"",   "/",    "/a",   "a/",     "a//b", ".",
					  "..", "a/..", "../a", "a/../b", "a/./b"};
	const struct raw good = {1, 0444, 3, 2, "a/b\0xy"};
	struct raw raw;

	assert_int_equal(judge(&good, 8 + 3 + 2 + 2), 1);
	assert_int_equal(judge(&good, 0), 0);
	for (size_t len = 1; len < 8 + 3 + 2 + 2; len++)
		assert_int_equal(judge(&good, len), -EPROTO);
	for (unsigned i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		assert_int_equal(judge_path(bad[i]), -EPROTO);
	assert_int_equal(judge_path("a/..."), 1);
	assert_int_equal(judge_path("..a/.b"), 1);
	raw = good;
	raw.kind = 3;
	assert_int_equal(judge(&raw, 15), -EPROTO);
	raw = good;
	raw.mode = 04755;
	assert_int_equal(judge(&raw, 15), -EPROTO);
	raw = good;
	raw.bytes[1] = 0; /* a path that ends before */
	assert_int_equal(judge(&raw, 15), -EPROTO);
	raw = good;
	raw.bytes[3] = 'x'; /* that does not end */
	assert_int_equal(judge(&raw, 15), -EPROTO);
	raw = good;
	raw.bytes[6] = 'x';
	assert_int_equal(judge(&raw, 15), -EPROTO);
	raw = good;
	raw.path_len = raw.data_len = UINT16_MAX;
	assert_int_equal(judge(&raw, 15), -EPROTO);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_contents),
		cmocka_unit_test(test_order),
		cmocka_unit_test(test_malformed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
