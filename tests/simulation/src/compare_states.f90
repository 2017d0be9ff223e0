!> compare_states A B: are two final states (or checkpoints) equal bit for bit? Exit codes: 0 equal, 1 different, 2 cannot be told.
program compare_states
   use, intrinsic :: iso_fortran_env, only: error_unit, output_unit
   use kinds, only: int8
   implicit none

   integer(int8), allocatable :: a(:), b(:)
   integer :: n_different

   if (command_argument_count() /= 2) call cannot('usage: compare_states A B')
   call read_bytes(1, a)
   call read_bytes(2, b)
   if (size(a) /= size(b)) then
      write (output_unit, '(a)') 'different: not of the same size'
      stop 1, quiet=.true.
   end if
   n_different = count(a /= b)
   if (n_different > 0) then
      write (output_unit, '(a,i0,a,i0,a)') 'different: ', n_different, ' of ', size(a), ' bytes'
      stop 1, quiet=.true.
   end if
   write (output_unit, '(a,i0,a)') 'equal: all ', size(a), ' bytes'

contains

   subroutine read_bytes(argument, bytes)
      integer, intent(in) :: argument
      integer(int8), allocatable, intent(out) :: bytes(:)
      character(1024) :: path
      integer :: unit, stat, length

      call get_command_argument(argument, path)
      open (newunit=unit, file=trim(path), access='stream', form='unformatted', status='old', action='read', iostat=stat)
      if (stat /= 0) call cannot(trim(path)//': cannot be opened')
      inquire (unit=unit, size=length)
      allocate (bytes(max(length, 0)))
      read (unit, iostat=stat) bytes
      close (unit)
      if (stat /= 0 .or. length <= 0) call cannot(trim(path)//': cannot be read, or is empty')
   end subroutine read_bytes

   subroutine cannot(text)
      character(*), intent(in) :: text

      write (error_unit, '(2a)') 'compare_states: ', text
      stop 2, quiet=.true.
   end subroutine cannot

end program compare_states
