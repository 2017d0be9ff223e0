!> Checkpoints on disk: the whole state, bit for bit, with a checksum; and which of them are there to go back to.
module checkpoint
   use kinds, only: dp, int8, int32, int64
   use grid, only: mesh_type, state_type, new_state, n_variables
   use checksum, only: crc32
   use files, only: rename_file, remove_file
   implicit none
   private
   public :: write_checkpoint, read_checkpoint, shelf_type

   character(8), parameter :: magic = 'ANOMSIM1'

   !> The checkpoints of a run, oldest first. Only checkpoints of states whose image raised no alarm are put here.
   type :: shelf_type
      private
      character(:), allocatable :: directory
      integer :: n_kept = 1
      integer, allocatable :: steps(:)
   contains
      procedure :: open => open_shelf
      procedure :: put
      procedure :: newest_up_to
      procedure :: restore
   end type shelf_type

contains

   !> Writes `state` to `path`, under another name first, then renamed. `message` is empty if all is well.
   subroutine write_checkpoint(path, mesh, state, message)
      character(*), intent(in) :: path
      type(mesh_type), intent(in) :: mesh
      type(state_type), intent(in) :: state
      character(:), allocatable, intent(out) :: message
      integer :: unit, stat
      character(256) :: reason
      integer(int8), allocatable :: header(:), body(:)

      message = ''
      header = head(mesh, state)
      body = interior_bytes(mesh, state)
      open (newunit=unit, file=trim(path)//'.part', access='stream', form='unformatted', status='replace', action='write', &
         & iostat=stat, iomsg=reason)
      if (stat == 0) then
         write (unit, iostat=stat, iomsg=reason) header, body, crc32(body, crc32(header))
         close (unit)
      end if
      if (stat /= 0) then
         message = trim(path)//': '//trim(reason)
      else if (.not. rename_file(trim(path)//'.part', path)) then
         message = trim(path)//': cannot be put in place'
      end if
   end subroutine write_checkpoint

   !> Reads a checkpoint written for the same grid. `state` is set only if `message` is empty.
   subroutine read_checkpoint(path, mesh, state, message)
      character(*), intent(in) :: path
      type(mesh_type), intent(in) :: mesh
      type(state_type), intent(inout) :: state
      character(:), allocatable, intent(out) :: message
      integer :: unit, stat
      character(256) :: reason
      character(8) :: found
      integer(int32) :: nx, ny, sum_in_file
      integer(int64) :: step, cycle
      real(dp) :: time
      real(dp), allocatable :: u(:, :, :)
      type(state_type) :: read_state

      message = ''
      allocate (u(mesh%nx, mesh%ny, n_variables))
      open (newunit=unit, file=trim(path), access='stream', form='unformatted', status='old', action='read', iostat=stat, &
         & iomsg=reason)
      if (stat == 0) then
         read (unit, iostat=stat, iomsg=reason) found, nx, ny, step, cycle, time
         if (stat == 0) then
            if (found /= magic) then
               message = trim(path)//': not a checkpoint of this program'
            else if (nx /= mesh%nx .or. ny /= mesh%ny) then
               message = trim(path)//': written for another grid'
            else
               read (unit, iostat=stat, iomsg=reason) u, sum_in_file
            end if
         end if
         close (unit)
      end if
      if (stat /= 0) message = trim(path)//': '//trim(reason)
      if (len(message) > 0) return
      read_state = new_state(mesh)
      read_state%step = int(step)
      read_state%cycle = cycle
      read_state%time = time
      read_state%u(1:mesh%nx, 1:mesh%ny, :) = u
      if (crc32(interior_bytes(mesh, read_state), crc32(head(mesh, read_state))) /= sum_in_file) then
         message = trim(path)//': damaged, its checksum does not fit'
         return
      end if
      state = read_state
   end subroutine read_checkpoint

   function head(mesh, state) result(bytes)
      type(mesh_type), intent(in) :: mesh
      type(state_type), intent(in) :: state
      integer(int8), allocatable :: bytes(:)
      integer(int8), parameter :: mold(1) = [0_int8]

      bytes = [transfer(magic, mold), transfer(int([mesh%nx, mesh%ny], int32), mold), &
         & transfer([int(state%step, int64), state%cycle], mold), transfer(state%time, mold)]
   end function head

   function interior_bytes(mesh, state) result(bytes)
      type(mesh_type), intent(in) :: mesh
      type(state_type), intent(in) :: state
      integer(int8), allocatable :: bytes(:)
      integer(int8), parameter :: mold(1) = [0_int8]

      bytes = transfer(state%u(1:mesh%nx, 1:mesh%ny, :), mold)
   end function interior_bytes

   !> An empty shelf of `n_kept` checkpoints in an existing directory.
   subroutine open_shelf(self, directory, n_kept)
      class(shelf_type), intent(inout) :: self
      character(*), intent(in) :: directory
      integer, intent(in) :: n_kept

      self%directory = trim(directory)
      self%n_kept = n_kept
      self%steps = [integer ::]
   end subroutine open_shelf

   !> Writes a checkpoint and removes the oldest one if there are too many.
   subroutine put(self, mesh, state, message)
      class(shelf_type), intent(inout) :: self
      type(mesh_type), intent(in) :: mesh
      type(state_type), intent(in) :: state
      character(:), allocatable, intent(out) :: message
      logical :: gone

      call write_checkpoint(path_of(self, state%step), mesh, state, message)
      if (len(message) > 0) return
      self%steps = [pack(self%steps, self%steps < state%step), state%step]
      do while (size(self%steps) > self%n_kept)
         ! A file that cannot be removed costs disk space, nothing else.
         gone = remove_file(path_of(self, self%steps(1)))
         self%steps = self%steps(2:)
      end do
   end subroutine put

   !> Step of the newest checkpoint at or before `step`; -1 if there is none.
   pure integer function newest_up_to(self, step)
      class(shelf_type), intent(in) :: self
      integer, intent(in) :: step
      newest_up_to = maxval([-1, pack(self%steps, self%steps <= step)])
   end function newest_up_to

   !> Brings back the checkpoint of `step` and drops all later ones: the fault may be in them.
   subroutine restore(self, step, mesh, state, message)
      class(shelf_type), intent(inout) :: self
      integer, intent(in) :: step
      type(mesh_type), intent(in) :: mesh
      type(state_type), intent(inout) :: state
      character(:), allocatable, intent(out) :: message
      integer :: k
      logical :: gone

      call read_checkpoint(path_of(self, step), mesh, state, message)
      if (len(message) > 0) return
      do k = 1, size(self%steps)
         if (self%steps(k) > step) gone = remove_file(path_of(self, self%steps(k)))
      end do
      self%steps = pack(self%steps, self%steps <= step)
   end subroutine restore

   function path_of(self, step) result(path)
      class(shelf_type), intent(in) :: self
      integer, intent(in) :: step
      character(:), allocatable :: path
      character(16) :: number

      write (number, '(i6.6)') step
      path = self%directory//'/checkpoint_'//trim(number)//'.bin'
   end function path_of

end module checkpoint
