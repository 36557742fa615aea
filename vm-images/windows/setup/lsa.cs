// Removes a private secret of the local security authority, where an automatic logon keeps its password.
// https://learn.microsoft.com/en-us/windows/win32/api/ntsecapi/nf-ntsecapi-lsastoreprivatedata
using System;
using System.ComponentModel;
using System.Runtime.InteropServices;

namespace WfpHil
{
    public static class Lsa
    {
        private const uint PolicyCreateSecret = 0x20;
        private const uint StatusObjectNameNotFound = 0xC0000034;

        [StructLayout(LayoutKind.Sequential)]
        private struct UnicodeString
        {
            public ushort Length;
            public ushort MaximumLength;
            public IntPtr Buffer;
        }

        [StructLayout(LayoutKind.Sequential)]
        private struct ObjectAttributes
        {
            public int Length;
            public IntPtr RootDirectory;
            public IntPtr ObjectName;
            public uint Attributes;
            public IntPtr SecurityDescriptor;
            public IntPtr SecurityQualityOfService;
        }

        [DllImport("advapi32.dll")]
        private static extern uint LsaOpenPolicy(IntPtr systemName, ref ObjectAttributes attributes, uint access, out IntPtr policy);

        [DllImport("advapi32.dll")]
        private static extern uint LsaStorePrivateData(IntPtr policy, ref UnicodeString name, IntPtr data);

        [DllImport("advapi32.dll")]
        private static extern uint LsaClose(IntPtr policy);

        [DllImport("advapi32.dll")]
        private static extern int LsaNtStatusToWinError(uint status);

        public static void RemoveSecret(string name)
        {
            ObjectAttributes attributes = new ObjectAttributes();
            attributes.Length = Marshal.SizeOf(typeof(ObjectAttributes));
            IntPtr policy;
            Check(LsaOpenPolicy(IntPtr.Zero, ref attributes, PolicyCreateSecret, out policy));
            IntPtr buffer = Marshal.StringToHGlobalUni(name);
            try
            {
                UnicodeString key = new UnicodeString();
                key.Buffer = buffer;
                key.Length = (ushort)(name.Length * 2);
                key.MaximumLength = (ushort)(name.Length * 2 + 2);
                uint status = LsaStorePrivateData(policy, ref key, IntPtr.Zero);
                if (status != StatusObjectNameNotFound)
                {
                    Check(status);
                }
            }
            finally
            {
                Marshal.FreeHGlobal(buffer);
                LsaClose(policy);
            }
        }

        private static void Check(uint status)
        {
            if (status != 0)
            {
                throw new Win32Exception(LsaNtStatusToWinError(status));
            }
        }
    }
}
