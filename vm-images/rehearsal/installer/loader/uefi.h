/* What the loader uses of UEFI 2.10: tables, protocols and their GUIDs, with the offsets of the specification.
 * Sections are those of https://uefi.org/specs/UEFI/2.10/. */
#ifndef WFP_HIL_UEFI_H
#define WFP_HIL_UEFI_H

#include <stddef.h>
#include <stdint.h>

typedef uint16_t char16;
typedef uint64_t efi_status;
typedef void *efi_handle;
typedef void *efi_event;

/* Errors have the top bit set (appendix D). */
#define EFI_SUCCESS 0ULL
#define EFI_ERROR_BIT 0x8000000000000000ULL
#define EFI_LOAD_ERROR (EFI_ERROR_BIT | 1)
#define EFI_UNSUPPORTED (EFI_ERROR_BIT | 3)
#define EFI_NOT_READY (EFI_ERROR_BIT | 6)
#define EFI_TIMEOUT (EFI_ERROR_BIT | 18)

struct efi_guid {
    uint32_t a;
    uint16_t b, c;
    uint8_t d[8];
};

/* 10.2: every node begins so; lengths count the whole node. */
struct device_path {
    uint8_t type, subtype;
    uint8_t length[2];
};

/* 12.3 Simple Text Input */
struct input_key {
    uint16_t scan_code;
    char16 character;
};
struct text_input {
    void *reset;
    efi_status (*read_key)(struct text_input *, struct input_key *);
    efi_event wait_for_key;
};

/* 12.4 Simple Text Output */
struct text_output {
    void *reset;
    efi_status (*output_string)(struct text_output *, const char16 *);
};

/* 13.5 File Protocol */
struct file {
    uint64_t revision;
    efi_status (*open)(struct file *, struct file **, const char16 *, uint64_t mode, uint64_t attributes);
    efi_status (*close)(struct file *);
    void *remove;
    efi_status (*read)(struct file *, uint64_t *size, void *buffer);
};
#define FILE_MODE_READ 1ULL

/* 13.4 Simple File System */
struct file_system {
    uint64_t revision;
    efi_status (*open_volume)(struct file_system *, struct file **);
};
#define FILE_SYSTEM_GUID {0x964e5b22, 0x6459, 0x11d2, {0x8e, 0x39, 0x00, 0xa0, 0xc9, 0x69, 0x72, 0x3b}}

/* 9.1 Loaded Image */
struct loaded_image {
    uint32_t revision;
    efi_handle parent;
    void *system_table;
    efi_handle device;
    struct device_path *file_path;
    void *reserved;
    uint32_t load_options_size;
    void *load_options;
};
#define LOADED_IMAGE_GUID {0x5b1b31a1, 0x9562, 0x11d2, {0x8e, 0x3f, 0x00, 0xa0, 0xc9, 0x69, 0x72, 0x3b}}
#define DEVICE_PATH_GUID {0x09576e91, 0x6d3f, 0x11d2, {0x8e, 0x39, 0x00, 0xa0, 0xc9, 0x69, 0x72, 0x3b}}

/* 4.4 Boot Services: those that are not called are only counted. */
struct boot_services {
    uint8_t header[24];
    void *raise_to_close[12]; /* RaiseTPL ... CloseEvent */
    void *check_to_uninstall[4]; /* CheckEvent ... UninstallProtocolInterface */
    efi_status (*handle_protocol)(efi_handle, const struct efi_guid *, void **);
    void *reserved_to_install_table[5]; /* Reserved ... InstallConfigurationTable */
    efi_status (*load_image)(
        uint8_t boot_policy, efi_handle parent, struct device_path *, void *buffer, uint64_t size, efi_handle *);
    efi_status (*start_image)(efi_handle, uint64_t *exit_data_size, char16 **exit_data);
    void *exit;
    efi_status (*unload_image)(efi_handle);
    void *exit_boot_services, *next_monotonic_count;
    efi_status (*stall)(uint64_t microseconds);
};

/* 4.3 System Table */
struct system_table {
    uint8_t header[24];
    char16 *vendor;
    uint32_t vendor_revision;
    efi_handle in_handle;
    struct text_input *in;
    efi_handle out_handle;
    struct text_output *out;
    efi_handle error_handle;
    struct text_output *error;
    void *runtime_services;
    struct boot_services *boot;
};

#define AT(type, member, offset) _Static_assert(offsetof(struct type, member) == (offset), #type "." #member)
AT(system_table, in, 48);
AT(system_table, out, 64);
AT(system_table, boot, 96);
AT(boot_services, handle_protocol, 152);
AT(boot_services, load_image, 200);
AT(boot_services, start_image, 208);
AT(boot_services, unload_image, 224);
AT(boot_services, stall, 248);
AT(loaded_image, device, 24);
AT(loaded_image, load_options_size, 48);
AT(loaded_image, load_options, 56);
AT(file, read, 32);
_Static_assert(sizeof(struct efi_guid) == 16, "efi_guid");
_Static_assert(sizeof(struct device_path) == 4, "device_path");
#undef AT

#endif
