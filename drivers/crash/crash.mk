CRASH_CFLAGS  := $(COMMON) -Iinclude/mingw -fno-stack-protector -mno-red-zone -fno-optimize-sibling-calls
CRASH_LDFLAGS := -nostdlib -Wl,--subsystem,native:10.0 -Wl,--major-os-version,10 -Wl,--minor-os-version,0 \
                 -Wl,--entry,DriverEntry -Wl,--image-base,0x140000000 -Wl,--dynamicbase -Wl,--high-entropy-va \
                 -Wl,--nxcompat -Wl,--enable-reloc-section -Wl,--exclude-all-symbols $(LDREPRO)

$(BUILD)/crash/%.o: crash/%.c $(wildcard include/*.h) $(wildcard include/mingw/*.h)
	@mkdir -p $(@D)
	$(CC) $(CRASH_CFLAGS) -c $< -o $@

$(BUILD)/wfpcrash.sys: $(BUILD)/crash/crash.o $(BUILD)/libfwpkclnt.a $(BUILD)/libndis.a
	$(CC) $(CRASH_LDFLAGS) $< -L$(BUILD) -lfwpkclnt -lndis -lntoskrnl -lhal -o $(BUILD)/wfpcrash.debug
	$(OBJCOPY) --preserve-dates --strip-all $(BUILD)/wfpcrash.debug $@
