/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Numbers and layouts of the NVM Express standard, as far as this controller speaks it: base
 * specification 1.4 with the I/O command set additions that 2.0 took over (Identify CNS 05h to 08h
 * and 1Ch).  All multi-byte fields are little-endian, as is the only host that uvfio runs on.
 */
#ifndef UVFIO_NVME_SPEC_H
#define UVFIO_NVME_SPEC_H

#include <assert.h>
#include <stdint.h>

/* ---- controller registers (BAR 0) ---- */

enum nvme_reg {
	NVME_REG_CAP = 0x00,
	NVME_REG_VS = 0x08,
	NVME_REG_INTMS = 0x0c,
	NVME_REG_INTMC = 0x10,
	NVME_REG_CC = 0x14,
	NVME_REG_CSTS = 0x1c,
	NVME_REG_NSSR = 0x20,
	NVME_REG_AQA = 0x24,
	NVME_REG_ASQ = 0x28,
	NVME_REG_ACQ = 0x30,
	NVME_REG_CMBLOC = 0x38,
	NVME_REG_CMBSZ = 0x3c,
	NVME_REG_CMBMSC = 0x50,
	NVME_REG_CMBSTS = 0x58,
	NVME_REG_PMRCAP = 0xe00,
	NVME_REG_PMRCTL = 0xe04,
	NVME_REG_PMRSTS = 0xe08,
	NVME_REG_PMREBS = 0xe0c,
	NVME_REG_PMRSWTP = 0xe10,
	NVME_REG_PMRMSCL = 0xe14,
	NVME_REG_PMRMSCU = 0xe18,
	NVME_REG_DOORBELLS = 0x1000,
};

#define NVME_VERSION_1_4         0x00010400u
#define NVME_NSSR_MAGIC          0x4e564d65u /* "NVMe" */

#define NVME_CAP_MQES(n)         ((uint64_t)(n)) /* entries - 1 */
#define NVME_CAP_CQR             (1ull << 16)
#define NVME_CAP_TO(n)           ((uint64_t)(n) << 24) /* 500 ms */
#define NVME_CAP_NSSRS           (1ull << 36)
#define NVME_CAP_CSS_NVM         (1ull << 37)
#define NVME_CAP_CSS_IOCS        (1ull << 43) /* one or more I/O command sets, Identify CNS 1Ch */
#define NVME_CAP_MPSMIN(n)       ((uint64_t)(n) << 48)
#define NVME_CAP_MPSMAX(n)       ((uint64_t)(n) << 52)
#define NVME_CAP_PMRS            (1ull << 56)
#define NVME_CAP_CMBS            (1ull << 57)

#define NVME_CC_EN               (1u << 0)
#define NVME_CC_CSS(cc)          (((cc) >> 4) & 0x7)
#define NVME_CC_MPS(cc)          (((cc) >> 7) & 0xf)
#define NVME_CC_AMS(cc)          (((cc) >> 11) & 0x7)
#define NVME_CC_SHN(cc)          (((cc) >> 14) & 0x3)
#define NVME_CC_IOSQES(cc)       (((cc) >> 16) & 0xf)
#define NVME_CC_IOCQES(cc)       (((cc) >> 20) & 0xf)
#define NVME_CC_MASK             0x00fffff1u
#define NVME_CC_CSS_NVM          0
#define NVME_CC_CSS_IOCS         6
#define NVME_SHN_NORMAL          1
#define NVME_SHN_ABRUPT          2

#define NVME_CSTS_RDY            (1u << 0)
#define NVME_CSTS_CFS            (1u << 1)
#define NVME_CSTS_SHST_MASK      (3u << 2)
#define NVME_CSTS_SHST_OCCURRING (1u << 2)
#define NVME_CSTS_SHST_COMPLETE  (2u << 2)
#define NVME_CSTS_NSSRO          (1u << 4)

#define NVME_AQA_ASQS(aqa)       (((aqa)&0xfff) + 1)
#define NVME_AQA_ACQS(aqa)       ((((aqa) >> 16) & 0xfff) + 1)
#define NVME_AQA_MASK            0x0fff0fffu

#define NVME_CMBLOC_BIR(bar)     (bar)
#define NVME_CMBLOC_CDPCILS      (1u << 6) /* lists there also for commands that are elsewhere */
#define NVME_CMBLOC_CDMMMS       (1u << 7) /* data partly there and partly elsewhere */
#define NVME_CMBSZ_SQS           (1u << 0)
#define NVME_CMBSZ_CQS           (1u << 1)
#define NVME_CMBSZ_LISTS         (1u << 2)
#define NVME_CMBSZ_RDS           (1u << 3)
#define NVME_CMBSZ_WDS           (1u << 4)
#define NVME_CMBSZ_SZU_4K        (0u << 8)
#define NVME_CMBSZ_SZ(n)         ((uint32_t)(n) << 12)
#define NVME_CMBMSC_CRE          (1ull << 0)
#define NVME_CMBMSC_CMSE         (1ull << 1)
#define NVME_CMBMSC_CBA          (~0xfffull)
#define NVME_CMBSTS_CBAI         (1u << 0)

#define NVME_PMRCAP_RDS          (1u << 3)
#define NVME_PMRCAP_WDS          (1u << 4)
#define NVME_PMRCAP_BIR(bar)     ((uint32_t)(bar) << 5)
#define NVME_PMRCAP_PMRTU_500MS  (0u << 8)
#define NVME_PMRCAP_PMRWBM_STS   (2u << 10) /* a read of PMRSTS is the barrier */
#define NVME_PMRCAP_PMRTO(n)     ((uint32_t)(n) << 16)
#define NVME_PMRCAP_CMSS         (1u << 24)
#define NVME_PMRCTL_EN           (1u << 0)
#define NVME_PMRSTS_ERR(n)       ((uint32_t)(n))
#define NVME_PMRSTS_NRDY         (1u << 8)
#define NVME_PMRSTS_HSTS(n)      ((uint32_t)(n) << 9)
#define NVME_PMRSTS_CBAI         (1u << 12)
#define NVME_PMRMSC_CMSE         (1ull << 1)
#define NVME_PMR_NORMAL          0
#define NVME_PMR_RESTORE_ERROR   1
#define NVME_PMR_UNRELIABLE      3

/* ---- commands ---- */

enum nvme_admin_opcode {
	NVME_ADM_DELETE_SQ = 0x00,
	NVME_ADM_CREATE_SQ = 0x01,
	NVME_ADM_GET_LOG_PAGE = 0x02,
	NVME_ADM_DELETE_CQ = 0x04,
	NVME_ADM_CREATE_CQ = 0x05,
	NVME_ADM_IDENTIFY = 0x06,
	NVME_ADM_ABORT = 0x08,
	NVME_ADM_SET_FEATURES = 0x09,
	NVME_ADM_GET_FEATURES = 0x0a,
	NVME_ADM_ASYNC_EVENT = 0x0c,
	NVME_ADM_NS_MANAGEMENT = 0x0d,
	NVME_ADM_NS_ATTACHMENT = 0x15,
	NVME_ADM_VIRT_MANAGEMENT = 0x1c,
	NVME_ADM_DBBUF_CONFIG = 0x7c,
	NVME_ADM_FORMAT = 0x80,
};

enum nvme_io_opcode {
	NVME_IO_FLUSH = 0x00,
	NVME_IO_WRITE = 0x01,
	NVME_IO_READ = 0x02,
	NVME_IO_WRITE_UNCORRECTABLE = 0x04,
	NVME_IO_COMPARE = 0x05,
	NVME_IO_WRITE_ZEROES = 0x08,
	NVME_IO_DSM = 0x09,
	NVME_IO_VERIFY = 0x0c,
};

#define NVME_FLAGS_FUSE(flags) ((flags)&0x3)
#define NVME_FUSE_FIRST        1
#define NVME_FUSE_SECOND       2
#define NVME_FLAGS_PSDT(flags) ((flags) >> 6)
#define NVME_PSDT_PRP          0
#define NVME_PSDT_SGL          1 /* metadata: contiguous buffer */
#define NVME_PSDT_SGL_MSGL     2 /* metadata: SGL segment */

#define NVME_NSID_ALL          0xffffffffu

struct nvme_sgl_desc {
	uint64_t addr;
	uint32_t len;
	uint8_t rsvd[3];
	uint8_t id; /* type 7:4, sub type 3:0 */
};
static_assert(sizeof(struct nvme_sgl_desc) == 16, "SGL descriptor");

enum nvme_sgl_type {
	NVME_SGL_DATA = 0x0,
	NVME_SGL_BIT_BUCKET = 0x1,
	NVME_SGL_SEGMENT = 0x2,
	NVME_SGL_LAST_SEGMENT = 0x3,
};

struct nvme_sqe {
	uint8_t opcode;
	uint8_t flags;
	uint16_t cid;
	uint32_t nsid;
	uint32_t cdw2, cdw3;
	uint64_t mptr;
	union {
		struct {
			uint64_t prp1, prp2;
		};
		struct nvme_sgl_desc sgl;
	};
	uint32_t cdw10, cdw11, cdw12, cdw13, cdw14, cdw15;
};
static_assert(sizeof(struct nvme_sqe) == 64, "submission queue entry");

struct nvme_cqe {
	uint32_t dw0, dw1;
	uint16_t sqhd, sqid;
	uint16_t cid;
	uint16_t status; /* bit 0: phase tag */
};
static_assert(sizeof(struct nvme_cqe) == 16, "completion queue entry");

#define NVME_RW_LR         (1u << 31) /* cdw12 */
#define NVME_RW_FUA        (1u << 30)
#define NVME_RW_PRINFO     (0xfu << 26)
#define NVME_RW_DEAC       (1u << 25) /* Write Zeroes */
#define NVME_RW_NLB(cdw12) (((cdw12)&0xffff) + 1)

#define NVME_DSM_AD        (1u << 2) /* cdw11 */

struct nvme_dsm_range {
	uint32_t attr;
	uint32_t nlb;
	uint64_t slba;
};
static_assert(sizeof(struct nvme_dsm_range) == 16, "dataset management range");

/* ---- status: bits 7:0 code, 10:8 code type, 13 more, 14 do not retry ---- */

enum nvme_status {
	NVME_SC_SUCCESS = 0x000,
	NVME_SC_INVALID_OPCODE = 0x001,
	NVME_SC_INVALID_FIELD = 0x002,
	NVME_SC_CID_CONFLICT = 0x003,
	NVME_SC_DATA_TRANSFER = 0x004,
	NVME_SC_INTERNAL = 0x006,
	NVME_SC_ABORT_REQUESTED = 0x007,
	NVME_SC_ABORT_SQ_DELETED = 0x008,
	NVME_SC_FAILED_FUSED = 0x009,  /* Command Aborted due to Failed Fused Command */
	NVME_SC_MISSING_FUSED = 0x00a, /* Command Aborted due to Missing Fused Command */
	NVME_SC_INVALID_NS = 0x00b,
	NVME_SC_SEQUENCE = 0x00c,
	NVME_SC_SGL_SEGMENT = 0x00d, /* Invalid SGL Segment Descriptor */
	NVME_SC_SGL_COUNT = 0x00e,   /* Invalid Number of SGL Descriptors */
	NVME_SC_SGL_LENGTH = 0x00f,  /* Data SGL Length Invalid */
	NVME_SC_SGL_METADATA = 0x010,
	NVME_SC_SGL_TYPE = 0x011,    /* SGL Descriptor Type Invalid */
	NVME_SC_INVALID_CMB = 0x012, /* Invalid Use of Controller Memory Buffer */
	NVME_SC_PRP_OFFSET = 0x013,
	NVME_SC_ATOMIC_UNIT = 0x014, /* Atomic Write Unit Exceeded */
	NVME_SC_OPERATION_DENIED = 0x015,
	NVME_SC_HOSTID_FORMAT = 0x018, /* Host Identifier Inconsistent Format */
	NVME_SC_WRITE_PROTECTED = 0x020,
	NVME_SC_IOCS_NOT_ENABLED = 0x029,
	NVME_SC_IOCS_COMBINATION = 0x02b, /* I/O Command Set Combination Rejected */
	NVME_SC_LBA_RANGE = 0x080,
	NVME_SC_CAPACITY = 0x081,
	NVME_SC_NS_NOT_READY = 0x082,
	NVME_SC_FORMAT_IN_PROGRESS = 0x084,

	NVME_SC_CQ_INVALID = 0x100,
	NVME_SC_QID_INVALID = 0x101,
	NVME_SC_QSIZE_INVALID = 0x102,
	NVME_SC_ABORT_LIMIT = 0x103,
	NVME_SC_AER_LIMIT = 0x105,
	NVME_SC_VECTOR_INVALID = 0x108,
	NVME_SC_LOG_PAGE_INVALID = 0x109,
	NVME_SC_FORMAT_INVALID = 0x10a,
	NVME_SC_QUEUE_DELETION = 0x10c,
	NVME_SC_NOT_SAVEABLE = 0x10d,
	NVME_SC_NOT_CHANGEABLE = 0x10e,
	NVME_SC_NOT_NS_SPECIFIC = 0x10f,
	NVME_SC_NS_CAPACITY = 0x115, /* Namespace Insufficient Capacity */
	NVME_SC_ALREADY_ATTACHED = 0x118,
	NVME_SC_NS_PRIVATE = 0x119,
	NVME_SC_NOT_ATTACHED = 0x11a,
	NVME_SC_CONTROLLER_LIST = 0x11c, /* Controller List Invalid */
	NVME_SC_CONTROLLER_ID = 0x11f,   /* Invalid Controller Identifier */
	NVME_SC_SECONDARY_STATE = 0x120, /* Invalid Secondary Controller State */
	NVME_SC_NR_RESOURCES = 0x121,    /* Invalid Number of Controller Resources */
	NVME_SC_RESOURCE_ID = 0x122,     /* Invalid Resource Identifier */
	NVME_SC_CONFLICTING_ATTRS = 0x180,
	NVME_SC_READ_ONLY_RANGE = 0x182, /* Attempted Write to Read Only Range */

	NVME_SC_WRITE_FAULT = 0x280,
	NVME_SC_UNRECOVERED_READ = 0x281,
	NVME_SC_COMPARE_FAILURE = 0x285,

	NVME_SC_MASK = 0x7ff,
	NVME_SC_MORE = 0x2000,
	NVME_SC_DNR = 0x4000,
};

/* ---- Identify ---- */

enum nvme_cns {
	NVME_CNS_NS = 0x00,
	NVME_CNS_CTRL = 0x01,
	NVME_CNS_NS_LIST = 0x02,
	NVME_CNS_NS_DESCS = 0x03,
	NVME_CNS_IOCS_NS = 0x05,
	NVME_CNS_IOCS_CTRL = 0x06,
	NVME_CNS_IOCS_NS_LIST = 0x07,
	NVME_CNS_NS_INDEPENDENT = 0x08,
	NVME_CNS_ALLOCATED_LIST = 0x10,
	NVME_CNS_ALLOCATED_NS = 0x11,
	NVME_CNS_NS_CONTROLLERS = 0x12,
	NVME_CNS_CONTROLLERS = 0x13,
	NVME_CNS_PRIMARY_CAPS = 0x14,
	NVME_CNS_SECONDARY_LIST = 0x15,
	NVME_CNS_IOCS = 0x1c,
};

#define NVME_CSI_NVM 0x00
#define NVME_CSI_MAX 0x02 /* NVM, key value, zoned: what Identify knows the name of */

struct nvme_lbaf {
	uint16_t ms;
	uint8_t lbads; /* log2 of bytes; 0: not available */
	uint8_t rp;
};

struct nvme_id_ns {
	uint64_t nsze, ncap, nuse;
	uint8_t nsfeat, nlbaf, flbas, mc, dpc, dps, nmic, rescap, fpi, dlfeat;
	uint16_t nawun, nawupf, nacwu, nabsn, nabo, nabspf, noiob;
	uint8_t nvmcap[16];
	uint16_t npwg, npwa, npdg, npda, nows;
	uint8_t rsvd74[18];
	uint32_t anagrpid;
	uint8_t rsvd96[3];
	uint8_t nsattr;
	uint16_t nvmsetid, endgid;
	uint8_t nguid[16];
	uint8_t eui64[8];
	struct nvme_lbaf lbaf[16];
	uint8_t rsvd192[192];
	uint8_t vs[3712];
} __attribute__((packed));
static_assert(sizeof(struct nvme_id_ns) == 4096, "identify namespace");

#define NVME_NMIC_SHARED            (1u << 0)
#define NVME_NSATTR_WRITE_PROTECTED (1u << 0)
#define NVME_DLFEAT_READ_ZERO       1u
#define NVME_DLFEAT_WZ_DEAC         (1u << 3)

struct nvme_id_ctrl {
	uint16_t vid, ssvid;
	char sn[20];
	char mn[40];
	char fr[8];
	uint8_t rab;
	uint8_t ieee[3];
	uint8_t cmic, mdts;
	uint16_t cntlid;
	uint32_t ver, rtd3r, rtd3e, oaes, ctratt;
	uint16_t rrls;
	uint8_t rsvd102[9];
	uint8_t cntrltype;
	uint8_t fguid[16];
	uint16_t crdt[3];
	uint8_t rsvd134[119];
	uint8_t nvmsr, vwci, mec;
	uint16_t oacs;
	uint8_t acl, aerl, frmw, lpa, elpe, npss, avscc, apsta;
	uint16_t wctemp, cctemp, mtfa;
	uint32_t hmpre, hmmin;
	uint8_t tnvmcap[16], unvmcap[16];
	uint32_t rpmbs;
	uint16_t edstt;
	uint8_t dsto, fwug;
	uint16_t kas, hctma, mntmt, mxtmt;
	uint32_t sanicap, hmminds;
	uint16_t hmmaxd, nsetidmax, endgidmax;
	uint8_t anatt, anacap;
	uint32_t anagrpmax, nanagrpid, pels;
	uint8_t rsvd356[156];
	uint8_t sqes, cqes;
	uint16_t maxcmd;
	uint32_t nn;
	uint16_t oncs, fuses;
	uint8_t fna, vwc;
	uint16_t awun, awupf;
	uint8_t nvscc, nwpc;
	uint16_t acwu;
	uint8_t rsvd534[2];
	uint32_t sgls, mnan;
	uint8_t rsvd544[224];
	char subnqn[256];
	uint8_t rsvd1024[1024];
	struct {
		uint16_t mp;
		uint8_t rsvd2, flags;
		uint32_t enlat, exlat;
		uint8_t rrt, rrl, rwt, rwl;
		uint16_t idlp;
		uint8_t ips, rsvd19;
		uint16_t actp;
		uint8_t apws, rsvd23[9];
	} __attribute__((packed)) psd[32];
	uint8_t vs[1024];
} __attribute__((packed));
static_assert(sizeof(struct nvme_id_ctrl) == 4096, "identify controller");
static_assert(__builtin_offsetof(struct nvme_id_ctrl, cntrltype) == 111, "identify controller");
static_assert(__builtin_offsetof(struct nvme_id_ctrl, oacs) == 256, "identify controller");
static_assert(__builtin_offsetof(struct nvme_id_ctrl, sqes) == 512, "identify controller");
static_assert(__builtin_offsetof(struct nvme_id_ctrl, subnqn) == 768, "identify controller");
static_assert(__builtin_offsetof(struct nvme_id_ctrl, psd) == 2048, "identify controller");

#define NVME_CMIC_CONTROLLERS         (1u << 1) /* two or more in the subsystem */
#define NVME_CMIC_VF                  (1u << 2)
#define NVME_OAES_NS_ATTR             (1u << 8)
#define NVME_CTRATT_HOSTID_128        (1u << 0)
#define NVME_CNTRLTYPE_IO             1
#define NVME_OACS_FORMAT              (1u << 1)
#define NVME_OACS_NS_MANAGEMENT       (1u << 3)
#define NVME_OACS_VIRT                (1u << 7)
#define NVME_OACS_DBBUF               (1u << 8)
#define NVME_FRMW_ONE_SLOT_RO         (1u << 0 | 1u << 1)
#define NVME_LPA_CMD_EFFECTS          (1u << 1)
#define NVME_LPA_EXTENDED             (1u << 2)
#define NVME_ONCS_COMPARE             (1u << 0)
#define NVME_ONCS_WRITE_UNCORRECTABLE (1u << 1)
#define NVME_ONCS_DSM                 (1u << 2)
#define NVME_ONCS_WRITE_ZEROES        (1u << 3)
#define NVME_ONCS_SAVE_SELECT         (1u << 4)
#define NVME_ONCS_TIMESTAMP           (1u << 6)
#define NVME_ONCS_VERIFY              (1u << 7)
#define NVME_FUSES_COMPARE_WRITE      (1u << 0)
#define NVME_VWC_PRESENT              (1u << 0)
#define NVME_VWC_FLUSH_ALL            (3u << 1) /* Flush takes NSID FFFFFFFFh */
#define NVME_SGLS_SUPPORTED           1u        /* no alignment needed */
#define NVME_SGLS_BIT_BUCKET          (1u << 16)
#define NVME_SGLS_LONGER              (1u << 18) /* an SGL may be longer than the data */

/* CNS 06h, CSI 0: what the NVM command set adds to the controller */
struct nvme_id_ctrl_nvm {
	uint8_t vsl, wzsl, wusl, dmrl;
	uint32_t dmrsl;
	uint64_t dmsl;
	uint8_t rsvd16[4080];
} __attribute__((packed));
static_assert(sizeof(struct nvme_id_ctrl_nvm) == 4096, "identify controller, NVM command set");

/* CNS 08h */
struct nvme_id_ns_independent {
	uint8_t nsfeat, nmic, rescap, fpi;
	uint32_t anagrpid;
	uint8_t nsattr, rsvd9;
	uint16_t nvmsetid, endgid;
	uint8_t nstat;
	uint8_t rsvd15[4081];
} __attribute__((packed));
static_assert(sizeof(struct nvme_id_ns_independent) == 4096, "independent identify namespace");

#define NVME_NIDT_UUID 3
#define NVME_NIDT_CSI  4

/* ---- features ---- */

enum nvme_feature {
	NVME_FEAT_ARBITRATION = 0x01,
	NVME_FEAT_POWER = 0x02,
	NVME_FEAT_TEMPERATURE = 0x04,
	NVME_FEAT_ERROR_RECOVERY = 0x05,
	NVME_FEAT_VWC = 0x06,
	NVME_FEAT_QUEUES = 0x07,
	NVME_FEAT_COALESCING = 0x08,
	NVME_FEAT_VECTOR_CONFIG = 0x09,
	NVME_FEAT_ATOMICITY = 0x0a,
	NVME_FEAT_ASYNC_EVENTS = 0x0b,
	NVME_FEAT_TIMESTAMP = 0x0e,
	NVME_FEAT_IOCS_PROFILE = 0x19,
	NVME_FEAT_SW_PROGRESS = 0x80,
	NVME_FEAT_HOST_ID = 0x81,
};

enum nvme_feature_select {
	NVME_SEL_CURRENT = 0,
	NVME_SEL_DEFAULT = 1,
	NVME_SEL_SAVED = 2,
	NVME_SEL_CAPABILITIES = 3,
};

#define NVME_FEATCAP_SAVEABLE   (1u << 0)
#define NVME_FEATCAP_NS         (1u << 1)
#define NVME_FEATCAP_CHANGEABLE (1u << 2)

/* ---- log pages ---- */

enum nvme_log_page {
	NVME_LOG_ERROR = 0x01,
	NVME_LOG_SMART = 0x02,
	NVME_LOG_FIRMWARE = 0x03,
	NVME_LOG_CHANGED_NS = 0x04,
	NVME_LOG_EFFECTS = 0x05,
};

struct nvme_error_entry {
	uint64_t count;
	uint16_t sqid, cid;
	uint16_t status;   /* bit 0: phase tag, as in the completion */
	uint16_t location; /* byte 7:0, bit 10:8; FFFFh: none */
	uint64_t lba;
	uint32_t nsid;
	uint8_t vs, trtype;
	uint8_t rsvd30[2];
	uint64_t cs;
	uint16_t trtype_specific;
	uint8_t rsvd42[22];
} __attribute__((packed));
static_assert(sizeof(struct nvme_error_entry) == 64, "error log entry");

struct nvme_smart_log {
	uint8_t critical_warning;
	uint16_t temperature; /* K */
	uint8_t avail_spare, spare_threshold, percent_used, endurance_warning;
	uint8_t rsvd7[25];
	uint64_t data_units_read[2]; /* of 1,000 × 512 bytes */
	uint64_t data_units_written[2];
	uint64_t host_reads[2];
	uint64_t host_writes[2];
	uint64_t busy_time[2]; /* minutes */
	uint64_t power_cycles[2];
	uint64_t power_on_hours[2];
	uint64_t unsafe_shutdowns[2];
	uint64_t media_errors[2];
	uint64_t error_entries[2];
	uint32_t warning_time, critical_time;
	uint16_t sensors[8];
	uint32_t transitions[2], transition_times[2];
	uint8_t rsvd232[280];
} __attribute__((packed));
static_assert(sizeof(struct nvme_smart_log) == 512, "SMART log");

struct nvme_firmware_log {
	uint8_t afi;
	uint8_t rsvd1[7];
	char slots[7][8];
	uint8_t rsvd64[448];
} __attribute__((packed));
static_assert(sizeof(struct nvme_firmware_log) == 512, "firmware slot log");

struct nvme_effects_log {
	uint32_t admin[256];
	uint32_t io[256];
	uint8_t rsvd2048[2048];
};
static_assert(sizeof(struct nvme_effects_log) == 4096, "commands supported and effects log");

#define NVME_EFFECT_SUPPORTED    (1u << 0)
#define NVME_EFFECT_LBA          (1u << 1)  /* logical block content change */
#define NVME_EFFECT_NS           (1u << 2)  /* namespace capability change */
#define NVME_EFFECT_INVENTORY    (1u << 3)  /* which namespaces there are changes */
#define NVME_EFFECT_EXCLUSIVE_NS (1u << 16) /* no other command to the same namespace */

/* ---- asynchronous events ---- */

enum nvme_event_type {
	NVME_EVENT_ERROR = 0,
	NVME_EVENT_SMART = 1,
	NVME_EVENT_NOTICE = 2,
	NVME_NR_EVENT_TYPES
};

#define NVME_EVENT_ERROR_DB_REGISTER 0
#define NVME_EVENT_ERROR_DB_VALUE    1
#define NVME_EVENT_SMART_RELIABILITY 0
#define NVME_EVENT_SMART_TEMPERATURE 1
#define NVME_EVENT_NOTICE_NS_ATTR    0

#define NVME_SMART_WARN_TEMPERATURE  (1u << 1)
#define NVME_SMART_WARN_PMR          (1u << 5) /* read-only or unreliable */
#define NVME_AEC_NS_ATTR             (1u << 8)

#endif
